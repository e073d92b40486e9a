/**
 * The official conformance suite, run against a reference server of our own, first directly and then through a gateway
 * in front of it: whatever passes directly passes through the gateway as well.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Check,
  type Findings,
  idsOf,
  problemsOf,
  type Revision,
  runConformance,
  scenariosOf,
} from '../support/conformance.ts';
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { type ReferenceServer, startReferenceServer } from '../support/reference/server.ts';

const revisions: readonly Revision[] = ['2025-11-25', '2026-07-28'];
/** Scenarios that the reference server does not pass, with the reasons. None of them is required. */
const failingDirectly = JSON.parse(
  await readFile(new URL('./conformance-exceptions.json', import.meta.url), 'utf8'),
) as Record<Revision, Record<string, string>>;

let database: TestDatabase;
let folder: string;
let reference: ReferenceServer;
let gateway: GatewayProcess;

beforeAll(async () => {
  database = await createTestDatabase();
  folder = await mkdtemp(join(tmpdir(), 'talos-conformance-'));
  reference = await startReferenceServer();
  await writeFile(join(folder, 'talos.config.yaml'), `servers:\n  reference: { url: ${reference.url} }\n`);
  // The suite's client has no credential; development mode lets it in on the loopback interface.
  const env = { DEV_MODE: 'true', TALOS_GATEWAY_PORT: '0', DATABASE_URL: database.url, TALOS_RATE_LIMIT: 'false' };
  gateway = await startGatewayProcess({ env, cwd: folder });
});

afterAll(async () => {
  gateway.child.kill('SIGTERM');
  await gateway.ended();
  await reference.stop();
  await database.drop();
  await rm(folder, { recursive: true });
});

function hasFailed(checks: readonly Check[]): boolean {
  return problemsOf(checks).length > 0 || idsOf(checks, 'SUCCESS').size === 0;
}

for (const revision of revisions) {
  const { required, unscored } = await scenariosOf(revision);
  const exceptions = failingDirectly[revision];
  let direct: Findings;
  let through: Findings;

  describe(`the scenarios of ${revision}`, () => {
    beforeAll(async () => {
      const isKnown = (scenario: string) => scenario in exceptions;
      direct = await runConformance(reference.url, revision, isKnown);
      through = await runConformance(`${gateway.url}/mcp/reference`, revision, isKnown);
    }, 240_000);

    it('are exactly those that the suite has frozen', () => {
      expect(required.length).toBeGreaterThan(20);
      const all = [...required, ...unscored].sort();
      expect([...direct.keys()].sort()).toEqual(all);
      expect([...through.keys()].sort()).toEqual(all);
    });

    it('fail directly where that is known, and nowhere else', () => {
      const failing = [...direct].filter(([, checks]) => hasFailed(checks)).map(([scenario]) => scenario);
      expect(failing.sort()).toEqual(Object.keys(exceptions).sort());
      expect(Object.keys(exceptions).filter((scenario) => required.includes(scenario))).toEqual([]);
    });

    it.each(required)('%s passes directly', (scenario) => {
      expect(problemsOf(direct.get(scenario))).toEqual([]);
      expect(idsOf(direct.get(scenario), 'SUCCESS')).not.toEqual(new Set());
    });

    it.each(required)('%s passes through the gateway', (scenario) => {
      expect(problemsOf(through.get(scenario))).toEqual([]);
      expect(idsOf(through.get(scenario), 'SUCCESS')).not.toEqual(new Set());
      expect(skippedThrough(scenario)).toEqual([]);
    });

    it.each(unscored.filter((scenario) => !(scenario in exceptions)))(
      '%s counts for nothing, and passes through the gateway',
      (scenario) => {
        expect(problemsOf(through.get(scenario))).toEqual([]);
        expect(skippedThrough(scenario)).toEqual([]);
      },
    );

    /** Checks that the reference server passes, and that were not even made through the gateway. */
    function skippedThrough(scenario: string): string[] {
      const passed = idsOf(direct.get(scenario), 'SUCCESS');
      return [...idsOf(through.get(scenario), 'SKIPPED')].filter((id) => passed.has(id));
    }
  });
}
