/** TLS from files, also when they are renewed while the gateway runs. */
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { selfSigned } from '../support/certificate.ts';
import { eventually, startTestGateway, type TestGateway } from '../support/gateway.ts';

let folder: string;
let gateway: TestGateway;

const use = async (name: 'first' | 'second') => {
  const { key, cert } = selfSigned(`${name}.talos.test`);
  await writeFile(join(folder, 'key.pem'), key);
  await writeFile(join(folder, 'cert.pem'), cert);
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-tls-'));
  await use('first');
  gateway = await startTestGateway({
    env: { TALOS_TLS_CERT_FILE: join(folder, 'cert.pem'), TALOS_TLS_KEY_FILE: join(folder, 'key.pem') },
  });
});

afterAll(async () => {
  await gateway.stop();
  await rm(folder, { recursive: true });
});

const port = () => Number(new URL(gateway.url).port);

async function connected(): Promise<TLSSocket> {
  const socket = connect({ port: port(), host: '127.0.0.1', rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  return socket;
}

/** Who the gateway says that it is, on a new connection. */
async function servedName(): Promise<unknown> {
  const socket = await connected();
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return CN;
}

function get(path: string): Promise<{ status: number | undefined; security: string | undefined }> {
  return new Promise((resolve, reject) => {
    request({ port: port(), host: '127.0.0.1', path, rejectUnauthorized: false, agent: false }, (response) => {
      response.resume();
      resolve({ status: response.statusCode, security: response.headers['strict-transport-security'] });
    })
      .once('error', reject)
      .end();
  });
}

describe('a gateway with a certificate', () => {
  it('answers over TLS, and tells browsers to stay there', async () => {
    expect(gateway.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    expect(await get('/healthz')).toEqual({ status: 200, security: 'max-age=31536000' });
    expect(await servedName()).toBe('first.talos.test');
  });

  it('answers nothing without TLS', async () => {
    await expect(fetch(gateway.url.replace('https', 'http'))).rejects.toThrow();
    expect((await get('/healthz')).status).toBe(200);
  });

  it('speaks no version of TLS that is broken', async () => {
    const socket = connect({
      port: port(),
      host: '127.0.0.1',
      rejectUnauthorized: false,
      maxVersion: 'TLSv1.1',
      minVersion: 'TLSv1',
    });
    const [error] = await once(socket, 'error');
    expect(String(error)).toMatch(/protocol|version|alert|ssl/i);
  });

  it('keeps the one it has when the files cannot be used, and takes the next good one, without a restart', async () => {
    const old = await connected();
    await writeFile(join(folder, 'cert.pem'), 'no certificate');
    await eventually(() => gateway.logText().includes('the changed TLS certificate cannot be used'));
    expect(await servedName()).toBe('first.talos.test');
    await use('second');
    await eventually(async () => (await servedName()) === 'second.talos.test');
    // Connections that are open stay open.
    expect(old.destroyed).toBe(false);
    old.destroy();
  });
});
