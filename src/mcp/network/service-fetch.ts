/**
 * `fetch` for the services beside the gateway that the operator has named: the same guard as for tool servers, at the
 * moment of dialling. Whether redirects are followed is the caller's to say, and nobody here does.
 */
import { Agent, fetch as fetchBy } from 'undici';
import { createConnector } from './dial.ts';

export interface ServiceFetch {
  readonly fetch: typeof fetch;
  readonly close: () => Promise<void>;
}

export function createServiceFetch({ connectTimeoutMs }: { readonly connectTimeoutMs: number }): ServiceFetch {
  const dispatcher = new Agent({ connect: createConnector({ timeoutMs: connectTimeoutMs }) });
  // The same function as the global one, in the version that knows this agent; only their types differ.
  const guarded = (input: unknown, init?: object) => fetchBy(input as string, { ...init, dispatcher });
  return { fetch: guarded as unknown as typeof fetch, close: () => dispatcher.destroy() };
}
