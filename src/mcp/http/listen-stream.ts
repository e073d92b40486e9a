/** Listens to a server of the stateless era over HTTP: the answer to one POST is the stream of its changes. */
import { describeError } from '../../core/errors.ts';
import type { ConnectionOptions } from '../connection.ts';
import { Deadline } from '../deadline.ts';
import { listenMethod, StreamListener } from '../duplex/listener.ts';
import { type Era, encodeForEra, eraHeaders } from '../protocol/era.ts';
import { isResponse, readMessage } from '../protocol/json-rpc.ts';
import type { Listening, ListenOptions } from '../upstream-session.ts';
import type { HttpClient } from './client.ts';

export interface HttpListenOptions extends ListenOptions, Pick<ConnectionOptions, 'spec' | 'clock' | 'log' | 'bounds'> {
  readonly client: HttpClient;
  readonly era: Era;
  /** Of the request. */
  readonly id: number;
  /** For the acknowledgement. */
  readonly deadline: Deadline;
}

/** Rejects with `UpstreamError`, not dispatched. */
export function listenOverHttp(options: HttpListenOptions): Promise<Listening> {
  const { client, era, id, clock, bounds, log, spec, filter } = options;
  const leaving = new AbortController();
  const listener = new StreamListener(id, options, () => leaving.abort());
  const request = { method: listenMethod, params: { notifications: filter } };
  const onEvent = ({ data }: { readonly data: Buffer }) => {
    const message = readMessage(data, bounds.upstreamResponseDepthMax);
    if (isResponse(message)) return message;
    listener.take(message);
    return undefined;
  };
  client
    .send({
      body: encodeForEra(era, id, request),
      headers: eraHeaders(era, request),
      deadline: new Deadline(clock, Number.POSITIVE_INFINITY, leaving.signal),
      onEvent,
      aside: 'streams',
    })
    .catch((error: unknown) =>
      log.debug({ server: spec.id, reason: describeError(error) }, 'a tool server is no longer listened to'),
    )
    .finally(() => {
      listener.end();
      leaving.abort();
    });
  return listener.acknowledged(options.deadline);
}
