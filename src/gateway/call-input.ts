/** What a client gives to a server that asked for input before. */
import type { ToolCall } from '../mcp/upstream-call.ts';

export type CallInput = NonNullable<ToolCall['input']>;
