import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { Command, CommanderError } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { grantCommand } from '../../cli/commands/grant.ts';
import { inspectCommand } from '../../cli/commands/inspect.ts';
import { keysCommand } from '../../cli/commands/keys.ts';
import { verifyCapability } from '../../src/core/capability.ts';
import { isDenial } from '../../src/core/denial.ts';
import { didSet } from '../../src/core/did.ts';
import { chainOf, holders } from '../support/delegation.ts';
import { wrongTokens } from '../support/wrong-tokens.ts';

const program = resolve(import.meta.dirname, '../support/capability-cli-process.ts');
let folder = '';
let keyFile = '';
let did = '';

interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

async function talos(args: readonly string[], input = ''): Promise<Outcome> {
  const child = spawn(process.execPath, [program, ...args], { stdio: 'pipe' });
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const exited = new Promise<number | null>((done) => child.on('close', done));
  const [out, err, code] = await Promise.all([readAll(child.stdout), readAll(child.stderr), exited]);
  return { code, out, err };
}

/** The same within this process, for what ends before it prints anything: the code and the sentence on stderr. */
async function refusal(args: readonly string[]): Promise<{ code: number; err: string }> {
  let err = '';
  const program = new Command('talos').exitOverride().configureOutput({ writeErr: (text) => (err += text) });
  for (const add of [keysCommand, grantCommand, inspectCommand]) add(program);
  const end: unknown = await program.parseAsync(args, { from: 'user' }).catch((error: unknown) => error);
  if (!(end instanceof CommanderError)) throw new Error(`not refused: ${args.join(' ')}`);
  return { code: end.exitCode, err };
}

const grant = (...args: readonly string[]) => talos(['grant', '--key', keyFile, '--subject', 'agent-1', ...args]);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-cli-'));
  keyFile = join(folder, 'issuer.pem');
  did = (await talos(['keys', 'create', '--out', keyFile])).out.trim();
});

afterAll(() => rm(folder, { recursive: true }));

describe.concurrent('talos keys', () => {
  it('makes a key that only its owner can read, and prints the DID', async () => {
    expect(did).toMatch(/^did:key:z6Mk/);
    expect((await stat(keyFile)).mode & 0o777).toBe(0o600);
    expect(await readFile(keyFile, 'utf8')).toContain('BEGIN PRIVATE KEY');
  });

  it('shows both DIDs of a key', async () => {
    const { code, out } = await talos(['keys', 'show', keyFile]);
    expect(code).toBe(0);
    expect(out.split('\n')).toEqual([did, expect.stringMatching(/^did:talos:[0-9a-f]{64}$/), '']);
  });

  it('never overwrites a file', async () => {
    const path = join(folder, 'precious');
    await writeFile(path, 'precious');
    const { code, out, err } = await talos(['keys', 'create', '--out', path]);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toBe(`error: ${path} exists already; choose another file, keys are never overwritten.\n`);
    expect(await readFile(path, 'utf8')).toBe('precious');
  });

  it.each([
    ['a folder that is not there', ['keys', 'create', '--out', '/nowhere/at/all.pem'], 'its folder does not'],
    ['a key file that is not there', ['keys', 'show', '/nowhere.pem'], '/nowhere.pem does not exist'],
    ['a folder as key file', ['keys', 'show', tmpdir()], 'is a folder'],
  ])('refuses %s in one sentence', async (_, args, sentence) => {
    const { code, err } = await refusal(args);
    expect(code).toBe(2);
    expect(err).toContain(sentence);
    expect(err.trim().split('\n')).toHaveLength(1);
  });

  it('refuses keys of another kind', async () => {
    const path = join(folder, 'x25519.pem');
    const { privateKey } = generateKeyPairSync('x25519');
    await writeFile(path, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const { code, err } = await refusal(['keys', 'show', path]);
    expect(code).toBe(2);
    expect(err).toContain('holds no Ed25519 private key');
  });
});

describe.concurrent('talos grant', () => {
  it('prints a token that verifies, and nothing else, on stdout', async () => {
    const { code, out, err } = await grant(
      ...['--scope', 'tool:git', 'tool:weather/method:get_forecast', '--ttl', '15m', '--team', 'red'],
      ...['--constraint', 'paths=["/docs/**"]', 'read_only=true', 'allowed_tools=["git_log","get_forecast"]'],
    );
    const nowSec = Math.floor(Date.now() / 1000);
    const options = { trustedIssuers: didSet([did]), nowSec, skewSec: 60, tokenCharsMax: 16_384 };
    const verified = await verifyCapability(out.trim(), options);
    if (isDenial(verified)) throw new Error(verified.detail);
    expect(code).toBe(0);
    expect(verified).toMatchObject({
      issuer: did,
      subject: 'agent-1',
      teamId: 'red',
      scopes: [{ server: 'git' }, { server: 'weather', method: 'get_forecast' }],
      constraints: { paths: ['/docs/**'], read_only: true, team_id: 'red' },
    });
    expect(verified.expiresAtSec - verified.issuedAtSec).toBe(900);
    expect(err).toBe('Granted to agent-1 for 15m: tool:git, tool:weather/method:get_forecast.\n');
  });

  it('warns about a key that others can read', async () => {
    const path = join(folder, 'open.pem');
    await talos(['keys', 'create', '--out', path]);
    await chmod(path, 0o644);
    const { err } = await talos(['grant', '--key', path, '--subject', 'agent-1', '--scope', 'tool:git']);
    expect(err).toContain(`warning: others can read ${path}`);
  });

  const scope = ['--scope', 'tool:git'];
  it.each([
    ['a scope that is none', ['--scope', 'git'], '--scope: "git" is not a scope'],
    ['one scope of two that is none', ['--scope', 'tool:git', 'tools/call'], '--scope: "tools/call" is not a scope'],
    ['a duration that is none', [...scope, '--ttl', '1y'], '--ttl 1y is not a duration'],
    ['a duration of ages', [...scope, '--ttl', '9999d'], 'too long; the most is 3650d'],
    ['a reserved subject', [...scope, '--subject', 'anonymous'], '--subject must be'],
    ['an empty subject', [...scope, '--subject', ''], '--subject must be'],
    ['a constraint without a value', [...scope, '--constraint', 'paths'], '--constraint paths is not name=value'],
    ['an unknown constraint', [...scope, '--constraint', 'region=eu'], 'The constraint region is not known'],
    ['broken JSON', [...scope, '--constraint', 'paths=["/docs/**"'], 'The value of the constraint paths'],
    ['a value of a wrong type', [...scope, '--constraint', 'read_only=yes'], 'The constraint read_only cannot have'],
    ['a glob that is none', [...scope, '--constraint', 'paths=["/docs**"]'], 'The constraint paths cannot have'],
    ['a constraint twice', [...scope, '--constraint', 'tool=git', 'tool=git'], 'The constraint tool is given twice'],
    ['two teams', [...scope, '--team', 'a', '--constraint', 'team_id=b'], 'The constraint team_id is given twice'],
  ])('refuses %s in one sentence', async (_, args, sentence) => {
    const { code, err } = await refusal(['grant', '--key', keyFile, '--subject', 'agent-1', ...args]);
    expect(code).toBe(2);
    expect(err).toContain(sentence);
    expect(err.trim().split('\n')).toHaveLength(1);
  });
});

describe.concurrent('talos delegate', () => {
  const parentFor = async (holder: string, ...more: string[]) => {
    const { out } = await talos(['grant', '--key', keyFile, '--subject', holder, '--scope', 'tool:git', ...more]);
    return out.trim();
  };
  const holderKey = async (name: string) => {
    const path = join(folder, `${name}.pem`);
    return { path, did: (await talos(['keys', 'create', '--out', path])).out.trim() };
  };

  it('passes a capability on, narrowed, without a gateway', async () => {
    const holder = await holderKey('holder');
    const parent = await parentFor(holder.did, '--delegatable', '--ttl', '1h', '--team', 'red');
    const { code, out, err } = await talos(
      ['delegate', '--key', holder.path, '--parent', '-', '--subject', 'agent-2', '--ttl', '7d'].concat([
        '--scope',
        'tool:git/method:git_log',
        '--constraint',
        'max_calls=5',
      ]),
      parent,
    );
    expect(code).toBe(0);
    const nowSec = Math.floor(Date.now() / 1000);
    const options = { trustedIssuers: didSet([did]), nowSec, skewSec: 60, tokenCharsMax: 16_384 };
    const verified = await verifyCapability(out.trim(), options);
    if (isDenial(verified)) throw new Error(verified.detail);
    expect(verified).toMatchObject({
      subject: 'agent-2',
      teamId: 'red',
      scopes: [{ server: 'git', method: 'git_log' }],
    });
    expect(verified.expiresAtSec - verified.issuedAtSec).toBeLessThanOrEqual(3_600);
    expect(err).toMatch(/^Passed on to agent-2 for /);
  });

  it.each([
    ['a parent that may not be passed on', [], [], 'does not allow its subject to pass it on'],
    ['a wider scope', ['--delegatable'], ['--scope', 'tool:*'], 'grants more than that of the parent'],
    ['another team', ['--delegatable', '--team', 'red'], ['--team', 'blue'], 'the child may not change it'],
    ['a parent that is none', ['--delegatable'], ['--parent', 'hello'], 'This is not a capability token'],
  ])('refuses %s in one sentence', async (name, ofParent, ofChild, sentence) => {
    const holder = await holderKey(name.replaceAll(' ', '-'));
    const parent = await parentFor(holder.did, ...ofParent);
    const args = ['delegate', '--key', holder.path, '--parent', parent, '--subject', 'agent-2', ...ofChild];
    const { code, err } = await talos(args);
    expect(code).toBe(2);
    expect(err).toContain(sentence);
    expect(err.trim().split('\n')).toHaveLength(1);
  });

  it('refuses the key of somebody else', async () => {
    const parent = await parentFor((await holderKey('rightful')).did, '--delegatable');
    const { code, err } = await talos(['delegate', '--key', keyFile, '--parent', parent, '--subject', 'agent-2']);
    expect(code).toBe(2);
    expect(err).toContain("The key is not that of the parent's subject");
  });
});

describe.concurrent('talos inspect', () => {
  it('explains a token in words', async () => {
    const { out: token } = await grant('--scope', 'tool:git', '--constraint', 'paths=["/docs/**"]', '--ttl', '1h');
    const { code, out } = await talos(['inspect', '-'], token);
    expect(code).toBe(0);
    expect(out).toContain(`issuer      ${did}`);
    expect(out).toContain('subject     agent-1');
    expect(out).toContain('allows      everything on the server git');
    expect(out).toContain('only where every path in the arguments matches ["/docs/**"]');
    expect(out).toMatch(/expires in (1 hour|60 minutes) \(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\)/);
    expect(out).toContain('signature   verifies against the issuer it names');
  });

  it('explains it as JSON', async () => {
    const { out: token } = await grant('--scope', 'tool:gateway/method:events.read', 'tool:*');
    const { out } = await talos(['inspect', '--json', token.trim()]);
    expect(JSON.parse(out)).toMatchObject({
      hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      signature_valid: true,
      claims: { sub: 'agent-1', iss: did },
      allows: ['the action events.read of the gateway itself', 'everything on every tool server'],
    });
  });

  it('explains each link of a chain, root first', async () => {
    const { code, out } = await talos(['inspect', chainOf(2)]);
    expect(code).toBe(0);
    const subjects = [...out.matchAll(/^subject {5}(.*)$/gm)].map((match) => match[1]);
    expect(subjects).toEqual(holders.slice(0, 3).map((holder) => holder.did));
    expect(out).toContain('Derived from, 1');
  });

  it.each([
    ['a link left out', "a child is not issued by its parent's subject"],
    ['every server of one', 'a child grants more than its parent'],
    ['a longer life', 'a child outlives its parent'],
    ['passed on four times', 'it was passed on more often than a capability may be'],
    ['a parent that is no token', 'it carries a parent that is no capability token'],
  ])('says what is wrong with a chain, and exits with 1: %s', async (name, sentence) => {
    const { code, out } = await talos(['inspect', wrongTokens.find((wrong) => wrong.name === name)?.token ?? '']);
    expect(code).toBe(1);
    expect(out).toContain(`CHAIN       NOT VALID: ${sentence}`);
  });

  it('says so when the signature is wrong, and exits with 1', async () => {
    const swapped = wrongTokens.find(({ name }) => name === 'the subject swapped')?.token ?? '';
    const { code, out } = await talos(['inspect', swapped]);
    expect(code).toBe(1);
    expect(out).toContain('DOES NOT VERIFY');
  });

  it.each([
    ['an expired token', 'expired long ago', 'expired 53 years ago (1970'],
    ['a token that was never valid', 'expired before it was issued', 'so it was never valid'],
    ['a scope without meaning', 'the scope "tools/call"', 'nothing: the scope tools/call has no meaning here'],
  ])('explains %s', async (_, name, sentence) => {
    const { code, out } = await talos(['inspect', wrongTokens.find((wrong) => wrong.name === name)?.token ?? '']);
    expect(code).toBe(0);
    expect(out.replace(/expired 5\d years/, 'expired 53 years')).toContain(sentence);
  });

  it.each([
    ['garbage', 'hello', 'it is not base64url of a JSON object'],
    ['a development string', 'cap_test', 'it is not base64url of a JSON object'],
    ['another form', 'a form of another version', 'it has a form that this version does not read'],
    ['a JWS with more in its header', 'a JWS that brings its key', 'it is a JWS whose header says more'],
    ['a claim that is missing', 'no exp', 'the claim exp is missing'],
    ['a claim of a wrong type', 'a time as text', 'the claim exp has a wrong type'],
    ['a claim that is not known', 'an extra claim', 'it has a claim that is not known'],
    ['what is too long', 'oversized', 'it is longer than 16384 characters'],
  ])('refuses %s in one sentence', async (_, name, sentence) => {
    const token = wrongTokens.find((wrong) => wrong.name === name)?.token ?? name;
    const { code, err } = await refusal(['inspect', token]);
    expect(code).toBe(2);
    expect(err).toContain(sentence);
    expect(err.trim().split('\n')).toHaveLength(1);
  });
});

describe.concurrent('a command line that is wrong', () => {
  it.each([
    ['an option that is missing', ['keys', 'create'], "required option '--out"],
    ['an argument that is missing', ['keys', 'show'], "missing required argument 'file'"],
    ['an option that is unknown', ['inspect', '--for', 'ever'], "unknown option '--for'"],
    ['a token that is none', ['inspect', 'hello'], 'This is not a capability token'],
  ])('ends with 2 and one sentence: %s', async (_, args, sentence) => {
    const { code, out, err } = await talos(args);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(sentence);
    expect(err.trim().split('\n')).toHaveLength(1);
  });
});
