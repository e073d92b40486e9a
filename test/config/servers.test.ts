import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/config.ts';
import { load, makeFolder, refusal } from './support.ts';

const development = { DEV_MODE: 'true' };

function servers(env: Readonly<Record<string, string>>, yaml?: string) {
  return load({ ...development, ...env }, yaml).config.servers;
}

describe('tool servers in the environment', () => {
  it('have their id in lower case', () => {
    const env = {
      MCP_SERVER_GIT: 'http://g/mcp',
      MCP_SERVER_My_Server2: 'https://m',
      MCP_WEATHER_URL: 'http://w',
      MCP_CONNECTOR_URL: 'http://c',
    };
    expect(servers(env)).toEqual([
      { id: 'connector', name: 'connector', transport: 'auto', url: 'http://c' },
      { id: 'git', name: 'git', transport: 'auto', url: 'http://g/mcp' },
      { id: 'my_server2', name: 'my_server2', transport: 'auto', url: 'https://m' },
      { id: 'weather', name: 'weather', transport: 'auto', url: 'http://w' },
    ]);
  });

  it('are absent when empty', () => {
    expect(servers({ MCP_SERVER_GIT: '', MCP_GIT_URL: ' ' })).toEqual([]);
  });

  it.each([
    ['MCP_SERVER_GATEWAY', 'http://h', /^MCP_SERVER_GATEWAY: the server id 'gateway' is reserved\.$/],
    ['MCP_SERVER_A__B', 'http://h', /^MCP_SERVER_A__B: the server id 'a__b' must be/],
    ['MCP_SERVER_', 'http://h', /^MCP_SERVER_: the server id '' must be/],
    ['MCP_SERVER__A', 'http://h', /^MCP_SERVER__A: the server id '_a' must be/],
    ['MCP_SERVER_A.B', 'http://h', /^MCP_SERVER_A\.B: the server id 'a\.b' must be/],
    ['MCP_SERVER_Ä', 'http://h', /^MCP_SERVER_Ä: the server id 'ä' must be/],
    [`MCP_SERVER_${'A'.repeat(64)}`, 'http://h', /must be 1 to 63/],
    ['MCP_SERVER_GIT', 'localhost:9000', /^MCP_SERVER_GIT must be an http:\/\/ or https:\/\/ address\.$/],
    ['MCP_SERVER_GIT', 'stdio:node', /^MCP_SERVER_GIT must be an http/],
    ['MCP_SERVER_GIT', 'http://user:canary@h/', /^MCP_SERVER_GIT must not carry a user name or password/],
    ['MCP_GIT_URL', 'canary', /^MCP_GIT_URL must be an http/],
  ])('%s=%s is refused and not quoted', (name, url, sentence) => {
    const problems = refusal({ ...development, [name]: url });
    expect(problems).toEqual([expect.stringMatching(sentence)]);
    expect(problems.join()).not.toContain('canary');
  });

  it('win over the older names with a warning', () => {
    const loaded = load({ ...development, MCP_GIT_URL: 'http://old', MCP_SERVER_GIT: 'http://new' });
    expect(loaded.config.servers).toMatchObject([{ id: 'git', url: 'http://new' }]);
    expect(loaded.warnings).toEqual(['MCP_GIT_URL differs from MCP_SERVER_GIT, which wins.']);
    expect(load({ ...development, MCP_GIT_URL: 'http://a', MCP_SERVER_GIT: 'http://a' }).warnings).toEqual([]);
  });

  it('are refused when two names of one kind disagree', () => {
    expect(refusal({ ...development, MCP_SERVER_GIT: 'http://a', MCP_SERVER_git: 'http://b' })).toEqual([
      'MCP_SERVER_GIT and MCP_SERVER_git give two addresses to the server "git": keep one.',
    ]);
  });

  it('are bounded in number', () => {
    const many = Object.fromEntries(Array.from({ length: 257 }, (_, at) => [`MCP_SERVER_S${at}`, 'http://h']));
    expect(refusal({ ...development, ...many })).toEqual(['At most 256 tool servers can be set, not 257.']);
  });
});

const yaml = `
servers:
  git:
    name: Git of the team
    url: https://git.example/mcp
    transport: http
    headers: { Authorization: "Bearer \${GIT_TOKEN}", X-Plain: "a \${lower} $5" }
    call_timeout: 0.5
    tags: [code, team]
    command: null
    enabled: false
  files:
    command: ./bin/files
    args: [--root, /srv, ""]
    env: { TOKEN: "\${GIT_TOKEN}-\${GIT_TOKEN}" }
    cwd: work
    call_timeout: 5m
    sessions: shared
    max_sessions: 3
    max_memory: 2GiB
    max_open_files: 100
`;

describe('tool servers in the file', () => {
  it('are read from a map, secrets filled in from the environment', () => {
    const cwd = makeFolder({ 'talos.config.yaml': yaml });
    const { config, sources } = loadConfig({ env: { ...development, GIT_TOKEN: 't0k' }, cwd });
    const [files, git] = config.servers;
    expect(files).toMatchObject({
      id: 'files',
      name: 'files',
      transport: 'stdio',
      command: './bin/files',
      args: ['--root', '/srv', ''],
      cwd: `${cwd}/work`,
      callTimeoutMs: 300_000,
      sessions: 'shared',
      maxSessions: 3,
      maxMemoryBytes: 2 ** 31,
      maxOpenFiles: 100,
    });
    expect({ ...files?.env }).toEqual({ TOKEN: 't0k-t0k' });
    expect(git).toMatchObject({
      name: 'Git of the team',
      transport: 'http',
      callTimeoutMs: 500,
      tags: ['code', 'team'],
      enabled: false,
    });
    expect({ ...git?.headers }).toEqual({ Authorization: 'Bearer t0k', 'X-Plain': `a \${lower} $5` });
    expect(sources.servers).toEqual({
      files: { layer: 'file', name: 'servers' },
      git: { layer: 'file', name: 'servers' },
    });
  });

  it('do not show their secrets when the configuration is printed', () => {
    const { config } = load({ ...development, GIT_TOKEN: 'canary' }, yaml);
    expect(inspect(config, { depth: 9 })).not.toContain('canary');
    expect(JSON.stringify(config)).not.toContain('canary');
    expect(JSON.stringify(config)).toContain('"Authorization":"[secret]"');
  });

  it('are read from a list', () => {
    expect(servers({}, 'servers:\n- {id: b, url: "http://b"}\n- {id: a, command: x}\n').map(({ id }) => id)).toEqual([
      'a',
      'b',
    ]);
  });

  it('are moved by the environment, and keep the rest', () => {
    const loaded = load({ ...development, GIT_TOKEN: 'x', MCP_SERVER_GIT: 'http://127.0.0.1:9/mcp' }, yaml);
    const git = loaded.config.servers.find(({ id }) => id === 'git');
    expect(git).toMatchObject({ url: 'http://127.0.0.1:9/mcp', transport: 'http', callTimeoutMs: 500 });
    expect({ ...git?.headers }).toHaveProperty('Authorization', 'Bearer x');
    expect(loaded.sources.servers['git']).toEqual({ layer: 'env', name: 'MCP_SERVER_GIT' });
  });

  it('cannot become a process and an address at once', () => {
    expect(refusal({ ...development, GIT_TOKEN: 'x', MCP_SERVER_FILES: 'http://h' }, yaml)).toEqual([
      'MCP_SERVER_FILES gives an address to the server "files", which the file starts as a process: keep one.',
    ]);
  });

  it.each([
    ['servers: 5', /^servers in .* must be a map of servers by id, or a list/],
    ['servers: [5]', /^servers in .*, entry 1 must be a map with an id/],
    ['servers: [{url: "http://h"}]', /entry 1 must be a map with an id in text/],
    [
      'servers: [{id: a, url: "http://h"}, {id: a, url: "http://h"}]',
      /entry 2: the id "a" is taken by an entry above\.$/,
    ],
    ['servers: {a: http://h}', /^servers\.a in .* must be a map with a url or a command/],
    ['servers: {a: null}', /^servers\.a in .* must be a map with a url or a command/],
    ['servers: {a: {id: b, url: "http://h"}}', /^servers\.a in .* has another id inside/],
    ['servers: {a: {}}', /^servers\.a in .*: a server with the transport 'auto' needs a url\.$/],
    ['servers: {a: {transport: stdio}}', /: a stdio server needs a command\.$/],
    [
      'servers: {a: {transport: pipe, url: "http://h"}}',
      /: transport must be one of auto, http, sse, stdio, jsonrpc\.$/,
    ],
    ['servers: {a: {transport: sse}}', /: a server with the transport 'sse' needs a url\.$/],
    ['servers: {a: {url: "http://h", sessions: none}}', /: sessions must be/],
    ['servers: {a: {url: "http://h", max_sessions: 0}}', /: max_sessions must be a number of sessions from 1/],
    ['servers: {a: {url: "http://h", max_memory: 1GiB}}', /: max_memory does not go with the transport "auto"\.$/],
    [
      'servers: {a: {url: "http://h", max_open_files: 99}}',
      /: max_open_files does not go with the transport "auto"\.$/,
    ],
    ['servers: {a: {command: x, max_memory: 1KiB}}', /: max_memory must be a size of at least 16777216 bytes/],
    ['servers: {a: {command: x, max_open_files: 3}}', /: max_open_files must be a number of files from 16/],
    ['servers: {a: {url: "ftp://h"}}', /: url must be an http/],
    ['servers: {a: {url: 5}}', /: url must be an http/],
    ['servers: {a: {ulr: "http://h"}}', /: "ulr" is not a key of a server\. Did you mean "url"\?$/],
    ['servers: {a: {url: "http://h", timeout: 5}}', /: "timeout" is not a key of a server\. /],
    ['servers: {a: {url: "http://h", constructor: 5}}', /: "constructor" is not a key of a server\. /],
    ['servers: {a: {url: "http://h", command: x}}', /: url does not go with the transport "stdio"\.$/],
    ['servers: {a: {url: "http://h", args: [x]}}', /: args does not go with the transport "auto"\.$/],
    ['servers: {a: {command: x, headers: {A: b}}}', /: headers does not go with the transport "stdio"\.$/],
    ['servers: {a: {command: x, args: "-v"}}', /: args must be a list\.$/],
    ['servers: {a: {command: x, args: [-p, 80]}}', /: args must hold text only/],
    ['servers: {a: {command: x, env: [A=b]}}', /: env must be a map of names and texts\.$/],
    ['servers: {a: {command: x, env: {DEBUG: true}}}', /: env must hold text only.* \(at "DEBUG"\)\.$/],
    [
      `servers: {a: {url: "http://h", headers: {A: "\${NOT_SET}"}}}`,
      /: headers needs the variable NOT_SET, which is not set \(at "A"\)\.$/,
    ],
    [
      'servers: {a: {url: "http://h", headers: {A: "canary\\n"}}}',
      /: the header 'a' has a value that HTTP does not allow\.$/,
    ],
    ['servers: {a: {url: "http://h", headers: {"A b": canary}}}', /: a header has a name that HTTP does not allow\.$/],
    [
      'servers: {a: {url: "http://h", headers: {Content-Length: "5"}}}',
      /: the header 'content-length' is set by the gateway itself\.$/,
    ],
    ['servers: {a: {url: "http://h", call_timeout: 0}}', /: call_timeout must be 0\.001 to 3600 seconds/],
    ['servers: {a: {url: "http://h", call_timeout: 3601}}', /: call_timeout must be/],
    ['servers: {a: {url: "http://h", call_timeout: 2h}}', /: call_timeout must be/],
    ['servers: {a: {url: "http://h", call_timeout: fast}}', /: call_timeout must be/],
    ['servers: {a: {url: "http://h", call_timeout: .nan}}', /: call_timeout must be/],
    ['servers: {a: {url: "http://h", enabled: maybe}}', /: enabled must be true or false/],
    ['servers: {a: {url: "http://h", tags: 5}}', /: tags must be a list/],
    ['servers: {a: {url: "http://h", name: "two\\nlines"}}', /: name must be printable text/],
    ['servers: {gateway: {url: "http://h"}}', /: the server id 'gateway' is reserved\.$/],
    ['servers: {Git: {url: "http://h"}}', /: the server id 'Git' must be/],
    ['servers: {a__b: {url: "http://h"}}', /: the server id 'a__b' must be/],
  ])('are refused in one sentence that quotes no secret: %s', (text, sentence) => {
    const problems = refusal(development, text);
    expect(problems).toEqual([expect.stringMatching(sentence)]);
    expect(problems.join()).not.toContain('canary');
  });
});
