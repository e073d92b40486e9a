/** What all servers together say of themselves. */
import { expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import { helloOfAll } from '../../src/gateway/native/aggregate/hello-of-all.ts';

const listChanged = true;

it('is what any of them has, and that their lists change, whatever they say of that', () => {
  expect(helloOfAll([]).capabilities).toEqual({ tools: { listChanged } });
  const parts = [
    { serverId: 'a', capabilities: { tools: {}, resources: {} } },
    { serverId: 'b', capabilities: { tools: {}, prompts: { listChanged }, logging: {} } },
  ];
  expect(helloOfAll(parts).capabilities).toEqual({
    tools: { listChanged },
    resources: { listChanged },
    prompts: { listChanged },
    logging: {},
  });
  const watched = [...parts, { serverId: 'c', capabilities: { resources: { subscribe: true }, completions: {} } }];
  expect(helloOfAll(watched).capabilities).toMatchObject({ resources: { subscribe: true }, completions: {} });
});

it('says what things are called here, and whose instructions are whose, as far as there is room', () => {
  const long = 'x'.repeat(bounds.aggregateInstructionsCharsMax);
  const { instructions } = helloOfAll([
    { serverId: 'a', capabilities: {}, instructions: 'Ask politely.' },
    { serverId: 'b', capabilities: {}, instructions: long },
    { serverId: 'c', capabilities: {}, instructions: 'Ask once.' },
    { serverId: 'd', capabilities: {} },
  ]);
  expect(instructions).toMatch(/talos\+<server>\+<URI>[^#]*\n\n# a\n\nAsk politely\.\n\n# c\n\nAsk once\.$/);
  expect(instructions.length).toBeLessThan(long.length);
});

it('leaves room for all, though one that comes first takes as much as there is', () => {
  const most = 'x'.repeat(bounds.aggregateInstructionsCharsMax - 1_000);
  const { instructions } = helloOfAll([
    { serverId: 'a', capabilities: {}, instructions: most },
    { serverId: 'b', capabilities: {}, instructions: 'Ask politely. '.repeat(100) },
  ]);
  expect(instructions).toMatch(/\n\n# b\n\nAsk politely\./);
  expect(instructions).not.toContain('xx');
});
