import { describe, expect, it } from 'vitest';
import { helloFrom } from '../../src/mcp/protocol/hello.ts';

const key = 'io.modelcontextprotocol/serverInfo';
const named = { name: 'named', version: '1' };
const other = { name: 'other', version: '2' };

describe('how a server introduces itself', () => {
  it.each([
    ['stateless', { _meta: { [key]: named } }, named],
    ['stateless', { _meta: { [key]: named }, serverInfo: other }, named],
    ['stateless', { serverInfo: other }, other],
    ['session', { serverInfo: named, _meta: { [key]: other } }, named],
    ['session', { _meta: { [key]: other } }, undefined],
    ['stateless', { _meta: { [key]: 'a word' } }, undefined],
    ['stateless', { _meta: 'a word' }, undefined],
    ['session', { serverInfo: [] }, undefined],
  ] as const)('by its era: %s %j', (era, result, serverInfo) => {
    expect(helloFrom({ capabilities: {}, ...result } as never, era).serverInfo).toEqual(serverInfo);
  });
});
