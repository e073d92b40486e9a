/** `GET /sessions`: who watches the log and who speaks MCP here, shown to whom it concerns, and nothing that opens a session. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { productionEnv, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { ask, initialize } from '../support/native-client.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

let upstream: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream({ calls: {} });
  gateway = await startTestGateway({ servers: { tested: upstream.url }, env: productionEnv, clock: wallClock() });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

const tokenOf = (team: string, scope = 'tool:*') =>
  tokenWith({ sub: `did:talos:${team}`, scope, constraints: { team_id: team } });
const readerOf = (team: string) => tokenOf(team, 'tool:gateway/method:events.read');

async function sessionsFor(team: string): Promise<JsonObject[]> {
  const { status, body } = await gateway.send('/sessions', { token: readerOf(team) });
  expect(status).toBe(200);
  return body['sessions'] as unknown as JsonObject[];
}

describe('a session of an MCP client', () => {
  it('is listed under the name that records have for it, until it ends', async () => {
    const token = tokenOf('red');
    const session = await initialize(gateway.url, { token, path: '/mcp/tested' });
    const [item] = await sessionsFor('red');
    expect(item).toEqual({
      session_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      peer_id: null,
      created_at: expect.stringMatching(/^2023-11-14T22:1[45]:[\d.]{6}Z$/),
      transport: 'mcp',
      principal: 'did:talos:red',
      server_id: 'tested',
    });
    const { body } = await gateway.send('/api/events?limit=500', { token: readerOf('red') });
    const opened = (body['items'] as unknown as JsonObject[]).find(({ method }) => method === 'mcp.session.open');
    expect(opened?.['meta']).toMatchObject({ session_id: item?.['session_id'] });
    const status = await gateway.send('/api/gateway/status');
    expect(status.body['sessions']).toMatchObject({ active_sessions: 1 });
    await ask(gateway.url, { ...session, method: 'DELETE' });
    expect(await sessionsFor('red')).toEqual([]);
  });

  it('is shown to its own team, and nobody is shown its id', async () => {
    const session = await initialize(gateway.url, { token: tokenOf('red'), path: '/mcp' });
    expect(await sessionsFor('blue')).toEqual([]);
    const shown = await sessionsFor('red');
    expect(shown).toHaveLength(1);
    expect(JSON.stringify(shown)).not.toContain(session.sessionId);
    // What is listed opens nothing.
    const named = {
      ...session,
      sessionId: String(shown[0]?.['session_id']),
      message: { jsonrpc: '2.0', id: 1, method: 'ping' },
    };
    expect((await ask(gateway.url, named)).status).toBe(404);
  });
});
