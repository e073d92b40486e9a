/** The one step of a tool call that may have effects: from the moment it is sent, its outcome must not get lost. */
import type { Clock } from '../core/clock.ts';
import { TalosError } from '../core/errors.ts';
import type { McpServer, UpstreamAnswer } from '../mcp/registry.ts';
import type { ToolCall as UpstreamCall } from '../mcp/upstream-call.ts';
import { UpstreamError } from '../mcp/upstream-error.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { asked, failed, fromUpstream, type Outcome } from './call-outcome.ts';
import { alongTo, askedFor, type Passage } from './passage.ts';
import type { Dispatched, Round, Stay } from './stay.ts';

/** A call, or one more round of one that is open at its server. */
export interface DispatchedCall extends Round {
  readonly passage?: Passage;
}

/** Never rejects. */
export async function dispatchCall(
  { telemetry, clock }: { readonly telemetry: Telemetry; readonly clock: Clock },
  server: McpServer,
  call: DispatchedCall,
  stay: Stay | undefined,
): Promise<Dispatched> {
  const startedAtMs = clock.monotonic();
  const dispatched = stay === undefined ? await send(server, call) : await stay.proceed(call);
  const seconds = (clock.monotonic() - startedAtMs) / 1000;
  telemetry.toolAnswered({ serverId: server.id, outcome: dispatched.outcome.kind, seconds });
  return dispatched;
}

async function send(server: McpServer, call: DispatchedCall): Promise<Dispatched> {
  const outcome = await ask(server, call);
  return call.intentId === undefined ? { outcome } : { outcome, intentId: call.intentId };
}

async function ask(server: McpServer, call: DispatchedCall): Promise<Outcome> {
  const { toolName: name, input: args, given, passage = {}, requestId, signal } = call;
  try {
    const line = passage.lineTo === undefined ? server : await passage.lineTo(server);
    const along = alongTo(server, passage);
    const input = given === undefined ? {} : { input: given };
    return outcomeOf(await line.callTool({ name, args, requestId, signal, ...along, ...input }), along);
  } catch (error) {
    if (error instanceof UpstreamError) return failed(error, error.dispatched);
    // A fault of our own: it must not leave the call without an outcome.
    return failed(new TalosError('INTERNAL', { cause: error }), true);
  }
}

function outcomeOf(answer: UpstreamAnswer, { client }: Pick<UpstreamCall, 'client'>): Outcome {
  if (answer.kind !== 'input_required' || client === undefined) return fromUpstream(answer);
  return asked(answer, askedFor(answer.result, client));
}
