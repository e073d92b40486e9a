/** The order of the test files: those that take longest come first, so that none of them runs alone at the end. */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

// Longer than ten seconds. The rest goes by size, or by what vitest remembers of the run before.
const longest = [
  'gateway/failure-policy',
  'crash/fail-points',
  'crash/kill',
  'audit/checkpointer',
  'audit/log-key-rotation',
  'audit/fsck',
  'audit/witness-client',
  'audit/anchors',
  'audit/spool',
  'cli/replay',
  'cli/log-commands',
  'cli/talos',
  'cli/tool-rules',
  'cli/capability-commands',
  'cli/capability-gateway',
  'container',
  'gateway/disk-full',
  'gateway/store-outage',
  'http/parked-calls',
  'mcp/conformance',
  'process/shutdown',
  'process/start',
  'storage/embedded',
  'storage/embedded-root',
  'storage/head-lock',
  'storage/log',
  'stream/exactly-the-log',
];

const rankOf = ({ moduleId }: TestSpecification) => {
  const rank = longest.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
  return rank === -1 ? longest.length : rank;
};

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).sort((a, b) => rankOf(a) - rankOf(b));
  }
}
