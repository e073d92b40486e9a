/** Tool servers under test: a registry with its real connections, a log that can be read, and calls without ceremony. */
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import type { JsonObject } from '../../src/core/json.ts';
import type { McpServerSpec } from '../../src/core/mcp-server.ts';
import type { McpBounds } from '../../src/mcp/mcp-bounds.ts';
import { createRegistry, type McpServer, type Registry } from '../../src/mcp/registry.ts';
import type { ToolCall, UpstreamAnswer } from '../../src/mcp/upstream-call.ts';
import { UpstreamError } from '../../src/mcp/upstream-error.ts';

export interface TestLog {
  readonly lines: JsonObject[];
  /** Everything that was logged, as text. */
  readonly text: () => string;
}

export interface TestRegistry {
  readonly registry: Registry;
  readonly log: TestLog;
}

export interface RegistrySettings {
  readonly bounds?: Partial<McpBounds>;
  readonly clock?: Clock;
}

/** Closed when the test that asked for it is over. */
export function registryOf(specs: readonly McpServerSpec[], settings: RegistrySettings = {}): TestRegistry {
  const lines: JsonObject[] = [];
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)) as JsonObject);
      done();
    },
  });
  const log = pino({ level: 'trace', base: null }, sink);
  const registry = createRegistry(specs, {
    clock: settings.clock ?? systemClock,
    log,
    // A server that does not leave by itself costs no test two seconds.
    bounds: { stdioStopGraceMs: 200, ...settings.bounds },
  });
  onTestFinished(() => registry.close());
  return { registry, log: { lines, text: () => JSON.stringify(lines) } };
}

/** A registry of one server, whose id is `tested` unless the spec says otherwise. */
export function serverOf(
  spec: Omit<McpServerSpec, 'id' | 'name'> & Partial<McpServerSpec>,
  settings: RegistrySettings = {},
): { readonly server: McpServer; readonly log: TestLog; readonly registry: Registry } {
  const full = { id: 'tested', name: 'Tested', ...spec };
  const { registry, log } = registryOf([full], settings);
  const server = registry.get(full.id);
  if (server === undefined) throw new Error('the server is not in its registry');
  return { server, log, registry };
}

/** A signal that nobody aborts. */
export function patience(): AbortSignal {
  return new AbortController().signal;
}

export function call(
  server: McpServer,
  name: string,
  args: JsonObject = {},
  more: Partial<ToolCall> = {},
): Promise<UpstreamAnswer> {
  return server.callTool({ name, args, requestId: 'request-1', signal: patience(), ...more });
}

/** What a call failed with; fails itself when the call did not. */
export async function failureOf(promise: Promise<unknown>): Promise<UpstreamError> {
  const error = await promise.then(
    (value) => new Error(`not a failure: ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  );
  if (error instanceof UpstreamError) return error;
  throw error;
}

/** The text of the first content part of a result. */
export function textOf(answer: UpstreamAnswer): string {
  if (answer.kind === 'error') throw new Error(`a JSON-RPC error: ${answer.error.message}`);
  const [first] = answer.result['content'] as readonly { readonly text: string }[];
  return first?.text ?? '';
}
