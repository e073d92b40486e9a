import { describe, expect, it } from 'vitest';
import { scopeFault } from '../../src/core/scope-sense.ts';

describe('a scope that can grant something', () => {
  it.each([
    'tool:git',
    'tool:*',
    'tool:git/method:git_log',
    'tool:git/method:*',
    'tool:docs/method:rpc.resources.read/resource:file%3A%2F%2F%2Fa',
    'tool:docs/resource:file%3A%2F%2F%2Fa',
    'tool:docs/method:*/resource:x',
    'tool:gateway',
    'tool:gateway/method:*',
    'tool:gateway/method:events.read',
    'tool:gateway/method:admin.rbac.write',
    'tool:gateway/method:messages.send',
  ])('is let be: %s', (scope) => {
    expect(scopeFault(scope)).toBeUndefined();
  });
});

describe('a scope that can never grant anything', () => {
  it.each([
    ['', 'is not a scope'],
    ['git', 'is not a scope'],
    ['tool:', 'is not a scope'],
    ['tool:git_*', 'is not a scope'],
    ['tool:Git', 'is not a scope'],
    ['tool:a__b', 'is not a scope'],
    ['tool:git/tool:x', 'is not a scope'],
    ['tool:git/method:', 'is not a scope'],
    ['tool:git /method:x', 'is not a scope'],
    [`tool:${'x'.repeat(500)}`, 'is not a scope'],
    ['tool:gateway/method:events.raed', 'is no action of the gateway'],
    ['tool:gateway/method:admin.*', 'is not a scope'],
    ['tool:gateway/method:git_log', 'is no action of the gateway'],
    ['tool:git/method:git_log/resource:x', 'neither tools nor actions'],
    ['tool:gateway/method:events.read/resource:x', 'neither tools nor actions'],
    ['tool:gateway/method:*/resource:x', 'neither tools nor actions'],
  ])('is named in one sentence: %s', (scope, sentence) => {
    const fault = scopeFault(scope);
    expect(fault).toContain(sentence);
    expect(fault?.length).toBeLessThan(400);
  });
});
