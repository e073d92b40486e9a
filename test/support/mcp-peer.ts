/** A client behind a request, as a test plays it: it keeps what it is told and asked, and answers as it is told to. */
import type { JsonObject } from '../../src/core/json.ts';
import type { Peer, PeerReply } from '../../src/mcp/protocol/peer.ts';

export interface AskedOfPeer {
  readonly method: string;
  readonly params: JsonObject;
  readonly signal: AbortSignal;
}

export interface TestPeer extends Peer {
  readonly onRequest: NonNullable<Peer['onRequest']>;
  readonly told: (readonly [method: string, params: JsonObject])[];
  readonly asked: AskedOfPeer[];
}

/** Answers every request with `reply`; by default with the method that was asked. */
export function testPeer(reply: (asked: AskedOfPeer) => PeerReply | Promise<PeerReply> = echoed): TestPeer {
  const told: TestPeer['told'] = [];
  const asked: AskedOfPeer[] = [];
  return {
    told,
    asked,
    onNotification: (method, params) => told.push([method, params]),
    onRequest: async (method, params, signal) => {
      const request = { method, params, signal };
      asked.push(request);
      return await reply(request);
    },
  };
}

function echoed({ method }: AskedOfPeer): PeerReply {
  return { result: { answered: method } };
}

/** Answers when `answer` is called, or with an error when the server no longer waits. */
export function slowPeer(): { readonly peer: TestPeer; readonly answer: () => void } {
  const answers: (() => void)[] = [];
  const peer = testPeer(
    ({ signal }) =>
      new Promise<PeerReply>((resolve) => {
        answers.push(() => resolve({ result: { answered: 'late' } }));
        signal.addEventListener('abort', () => resolve({ error: { code: -32_000, message: 'gone' } }), { once: true });
      }),
  );
  return { peer, answer: () => answers.shift()?.() };
}

export const richClient = {
  clientInfo: { name: 'tester', version: '7' },
  capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } },
};
