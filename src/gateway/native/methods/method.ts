/** A method of MCP as the native endpoint serves it, and what it is made of. */
import type { Recorder } from '../../../audit/recorder.ts';
import { rpcCodes } from '../../../mcp/protocol/json-rpc.ts';
import type { PolicyMode } from '../../../policy/decide.ts';
import type { CallTool } from '../../call-tool.ts';
import type { ListTools } from '../../list-tools.ts';
import type { Refuse } from '../../refusal.ts';
import type { RelayMethod } from '../../relay-method.ts';
import type { ServerFor } from '../../server-for.ts';
import type { Patience } from '../aggregate/patience.ts';
import type { TellSettings } from '../aggregate/tell-settings.ts';
import type { Outcome, RpcRequest } from '../answer.ts';
import type { ElicitAccountOptions } from '../elicit-account.ts';
import type { ParkedCalls } from '../parked/parked-calls.ts';
import type { Peers } from '../peers/peers.ts';
import type { McpSessions } from '../sessions/sessions.ts';
import type { Subscriptions } from '../subscriptions/subscriptions.ts';
import type { Turn } from '../turn.ts';
import type { Hello } from './hello.ts';

export interface MethodOptions extends ElicitAccountOptions {
  readonly listTools: ListTools;
  readonly callTool: CallTool;
  readonly relayMethod: RelayMethod;
  readonly hello: Hello;
  readonly patience: Patience;
  readonly serverFor: ServerFor;
  readonly sessions: McpSessions;
  readonly subscriptions: Subscriptions;
  readonly peers: Peers;
  readonly parkedCalls: ParkedCalls;
  readonly tellSettings: TellSettings;
  readonly policyMode: PolicyMode;
  readonly refuse: Refuse;
  readonly recorder: Pick<Recorder, 'ensureWritable'>;
}

export type Method = (options: MethodOptions, turn: Turn, rpc: RpcRequest) => Promise<Outcome>;

export function invalidParams(message: string): Outcome {
  return { error: { code: rpcCodes.invalidParams, message } };
}
