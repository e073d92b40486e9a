/** The two-way stream to a tool server that is a process of ours, with the secrets in its environment filled in. */
import type { ConnectionOptions } from '../connection.ts';
import { texts } from '../credentials/upstream-secrets.ts';
import type { OpenWire } from '../duplex/wire.ts';
import { UpstreamError } from '../upstream-error.ts';
import { StdioProcess } from './process.ts';

export function stdioWire(options: ConnectionOptions): OpenWire {
  const { spec, secretOf } = options;
  // A variable can hold anything but the NUL that ends it.
  const environment = texts(spec.env ?? {}, secretOf, (value) => !value.includes('\0'));
  return async (events, deadline) => {
    const env = await environment(deadline);
    const process = spawned(() => new StdioProcess({ ...options, spec: { ...spec, env } }, events), events.onOver);
    return {
      send(message, onFailure) {
        if (!process.write(message)) onFailure(new UpstreamError('UPSTREAM_BUSY', { dispatched: false }));
      },
      kill: () => process.kill(),
      stop: () => process.stop(),
    };
  };
}

function spawned(spawn: () => StdioProcess, onOver: (reason: string) => void): StdioProcess {
  try {
    return spawn();
  } catch (error) {
    const inside = 'it cannot be started';
    onOver(inside);
    throw new UpstreamError('UPSTREAM_UNAVAILABLE', { dispatched: false, inside, cause: error });
  }
}
