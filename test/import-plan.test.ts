/** The import plan at work: a small house that breaks each of its rules once, cruised with the real configuration. */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const project = fileURLToPath(new URL('..', import.meta.url));
const cruiser = join(project, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs');

interface Violation {
  readonly rule: { readonly name: string };
  readonly from: string;
}

const harmless = 'export const value = 1;\n';

/** Each file breaks the rule that it is listed under. */
const offences: Readonly<Record<string, readonly [file: string, text: string]>> = {
  'room-http': ['src/http/reads.ts', "import { value } from '../storage/value.ts';\nexport { value };\n"],
  'room-gateway': ['src/gateway/asks.ts', "import { value } from '../auth/value.ts';\nexport { value };\n"],
  'room-auth': ['src/auth/judges.ts', "import { value } from '../policy/value.ts';\nexport { value };\n"],
  'room-policy': ['src/policy/calls.ts', "export const load = () => import('../mcp/value.ts');\n"],
  'room-mcp': ['src/mcp/records.ts', "export * from '../audit/value.ts';\n"],
  'room-audit': ['src/audit/knows.ts', "import type { Value } from '../mcp/value.ts';\nexport type Own = Value;\n"],
  'room-stream': ['src/stream/writes.ts', "import { value } from '../audit/value.ts';\nexport { value };\n"],
  'room-network': ['src/network/judges.ts', "import { value } from '../policy/value.ts';\nexport { value };\n"],
  'room-shared-state': ['src/shared-state/calls.ts', "import { value } from '../mcp/value.ts';\nexport { value };\n"],
  'room-storage': ['src/storage/calls.ts', "import { value } from '../audit/value.ts';\nexport { value };\n"],
  'room-telemetry': ['src/telemetry/reads.ts', "import { value } from '../storage/value.ts';\nexport { value };\n"],
  'room-config': ['src/config/logs.ts', "import { value } from '../telemetry/value.ts';\nexport { value };\n"],
  'room-core': [
    'src/core/reads.ts',
    "import { type value } from '../config/value.ts';\nexport type Own = typeof value;\n",
  ],
  'mcp-protocol': ['src/mcp/protocol/asks.ts', "export * from '../http/value.ts';\n"],
  'mcp-network': ['src/mcp/network/asks.ts', "export * from '../protocol/value.ts';\n"],
  'mcp-resilience': ['src/mcp/resilience/asks.ts', "export * from '../tools/value.ts';\n"],
  'mcp-tools': ['src/mcp/tools/asks.ts', "export * from '../credentials/value.ts';\n"],
  'mcp-credentials': ['src/mcp/credentials/asks.ts', "export * from '../http/value.ts';\n"],
  'mcp-duplex': ['src/mcp/duplex/asks.ts', "export * from '../stdio/value.ts';\n"],
  'mcp-stdio': ['src/mcp/stdio/asks.ts', "export * from '../http/value.ts';\n"],
  'mcp-http': ['src/mcp/http/asks.ts', "export * from '../sessions/value.ts';\n"],
  'mcp-sessions': ['src/mcp/sessions/asks.ts', "export * from '../duplex/value.ts';\n"],
  'library-pg': ['src/audit/queries.ts', "import type pg from 'pg';\nexport type Pool = pg.Pool;\n"],
  'library-http-server': ['src/gateway/answers.ts', "import Fastify from 'fastify';\nexport { Fastify };\n"],
  'library-typebox': ['src/mcp/judges.ts', "import { Type } from 'typebox';\nexport { Type };\n"],
  'library-mcp-client': ['src/http/dials.ts', "import { Pool } from 'undici';\nexport { Pool };\n"],
  'library-ajv': ['src/policy/validates.ts', "import { Ajv } from 'ajv';\nexport { Ajv };\n"],
  'library-telemetry': ['src/auth/logs.ts', "import { pino } from 'pino';\nexport { pino };\n"],
  'library-yaml': ['src/mcp/parses.ts', "import { parse } from 'yaml';\nexport { parse };\n"],
  'library-jose': ['src/policy/decodes.ts', "import { jwtVerify } from 'jose';\nexport { jwtVerify };\n"],
  'library-libp2p': ['src/gateway/gossips.ts', "import { createLibp2p } from 'libp2p';\nexport { createLibp2p };\n"],
  'library-redis': ['src/auth/shares.ts', "import { Redis } from 'ioredis';\nexport { Redis };\n"],
  'library-commander': ['src/config/parses.ts', "import { Command } from 'commander';\nexport { Command };\n"],
  'every-folder-is-a-room': ['src/utils/value.ts', "import { value } from '../core/value.ts';\nexport { value };\n"],
  'nobody-imports-the-top': ['src/http/climbs.ts', "import { value } from '../app.ts';\nexport { value };\n"],
  'verifier-stands-alone': [
    'verifier/borrows.ts',
    "import { createHash } from 'node:crypto';\nexport { createHash };\n",
  ],
  'client-stands-alone': [
    'packages/client/borrows.ts',
    "import { value } from '../../src/core/value.ts';\nexport { value };\n",
  ],
  'rooms-need-no-client': ['src/stream/asks.ts', "export * from '../../packages/client/value.ts';\n"],
  'core-does-no-io': ['src/core/opens.ts', "import { readFileSync } from 'node:fs';\nexport { readFileSync };\n"],
  'core-needs-no-library': ['src/core/borrows.ts', "import { parse } from 'yaml';\nexport { parse };\n"],
  'few-start-processes': ['src/http/spawns.ts', "import { spawn } from 'node:child_process';\nexport { spawn };\n"],
  'no-circular': ['src/policy/circle.ts', "import type { Own } from './other.ts';\nexport type Mine = Own;\n"],
  'no-orphans': ['src/policy/orphan.ts', harmless],
  'not-to-unresolvable': ['src/auth/misses.ts', "import { value } from './nowhere.ts';\nexport { value };\n"],
  'not-to-dev-dependency': ['src/audit/borrows.ts', "import fc from 'fast-check';\nexport { fc };\n"],
  'not-to-undeclared': ['src/audit/inherits.ts', "import avvio from 'avvio';\nexport { avvio };\n"],
  'not-to-tests': ['src/audit/peeks.ts', "import { value } from '../../test/value.ts';\nexport { value };\n"],
};

const rooms = ['http', 'gateway', 'auth', 'policy', 'mcp', 'audit', 'storage', 'telemetry', 'config', 'core'];
const mcpFolders = ['protocol', 'tools', 'credentials', 'duplex', 'stdio', 'http', 'sessions'];

let house: string;
let violations: readonly Violation[];
let ruleNames: readonly string[];

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(house, path)), { recursive: true });
  await writeFile(join(house, path), text);
}

function cruise(): Promise<string> {
  const args = [
    cruiser,
    '--config',
    join(project, '.dependency-cruiser.mjs'),
    '--output-type',
    'json',
    'src',
    'verifier',
    'packages',
  ];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { cwd: house, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (stdout.startsWith('{')) resolve(stdout);
      else reject(new Error(`dependency-cruiser did not run: ${stderr}`, { cause: error }));
    });
  });
}

beforeAll(async () => {
  house = await mkdtemp(join(tmpdir(), 'talos-plan-'));
  await symlink(join(project, 'node_modules'), join(house, 'node_modules'));
  await cp(join(project, 'package.json'), join(house, 'package.json'));
  const value = 'export const value = 1;\nexport type Value = number;\n';
  await Promise.all(
    [
      'src/app.ts',
      'test/value.ts',
      'packages/client/value.ts',
      ...rooms.map((room) => `src/${room}/value.ts`),
      ...mcpFolders.map((folder) => `src/mcp/${folder}/value.ts`),
    ].map((path) => write(path, value)),
  );
  await write('src/policy/other.ts', "import type { Mine } from './circle.ts';\nexport type Own = Mine;\n");
  await Promise.all(Object.values(offences).map(([path, text]) => write(path, text)));

  const { default: plan } = (await import(join(project, '.dependency-cruiser.mjs'))) as {
    default: { forbidden: readonly { name: string; comment: string }[] };
  };
  ruleNames = plan.forbidden.map(({ name }) => name);
  violations = (JSON.parse(await cruise()) as { summary: { violations: Violation[] } }).summary.violations;
});

afterAll(() => rm(house, { recursive: true, force: true }));

describe('the import plan', () => {
  it.each(Object.entries(offences))('%s', (rule, [file]) => {
    expect(violations).toContainEqual(
      expect.objectContaining({ from: file, rule: expect.objectContaining({ name: rule }) }),
    );
  });

  it('has no rule that nothing here breaks, except for one that no installed package can', () => {
    expect(ruleNames.filter((name) => offences[name] === undefined)).toEqual(['not-to-deprecated']);
  });
});
