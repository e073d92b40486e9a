/**
 * A sample tool server: reads a local git repository, and changes nothing in it.
 *
 *   node examples/git/server.ts [folder]                 over stdio; the folder is the current one by default
 *   node examples/git/server.ts --http 9002 [folder]     Streamable HTTP on 127.0.0.1
 */
import { parseArgs } from 'node:util';
import { type CallToolResult, fromJsonSchema, McpServer } from '@modelcontextprotocol/server';
import { serve } from '../serve.ts';
import { GitError, Repository, revisionPattern } from './repository.ts';

const readOnly = { readOnlyHint: true, openWorldHint: false };

const path = {
  type: 'string',
  minLength: 1,
  maxLength: 1_000,
  description: 'A file or folder, relative to the top of the repository.',
} as const;

function revision(description: string) {
  return { type: 'string', maxLength: 200, pattern: revisionPattern, description } as const;
}

const logInput = fromJsonSchema<{ max_count?: number; revision?: string; path?: string }>({
  type: 'object',
  properties: {
    max_count: {
      type: 'integer',
      minimum: 1,
      maximum: 100,
      default: 10,
      description: 'How many commits at most, the newest first.',
    },
    revision: revision('Where to start: a branch, tag or commit. HEAD by default.'),
    path: { ...path, description: 'Only commits that changed this file or folder.' },
  },
  additionalProperties: false,
});

const statusInput = fromJsonSchema<Record<string, never>>({
  type: 'object',
  properties: {},
  additionalProperties: false,
});

const showInput = fromJsonSchema<{ revision?: string; path?: string }>({
  type: 'object',
  properties: {
    revision: revision('A branch, tag or commit. HEAD by default.'),
    path: { ...path, description: 'Show the content of this file in that commit, in place of the commit.' },
  },
  additionalProperties: false,
});

const diffInput = fromJsonSchema<{ from?: string; to?: string; path?: string }>({
  type: 'object',
  properties: {
    from: revision('The older side. HEAD by default.'),
    to: revision('The newer side. The working tree by default.'),
    path: { ...path, description: 'Only changes of this file or folder.' },
  },
  additionalProperties: false,
});

function createGitServer(repository: Repository): McpServer {
  const server = new McpServer({ name: 'git', version: '1.0.0' });
  server.registerTool(
    'git_log',
    {
      title: 'Commits',
      description: 'Lists commits: hash, author, date and subject.',
      inputSchema: logInput,
      annotations: readOnly,
    },
    ({ max_count, ...options }) =>
      answer(async () => listing(await repository.log({ count: max_count ?? 10, ...options }))),
  );
  server.registerTool(
    'git_status',
    {
      title: 'Status',
      description: 'The branch, and what is changed or untracked in the working tree.',
      inputSchema: statusInput,
      annotations: readOnly,
    },
    () => answer(async () => structured(await repository.status())),
  );
  server.registerTool(
    'git_show',
    {
      title: 'Commit or file',
      description: 'Shows a commit with its changes, or the content of a file in it.',
      inputSchema: showInput,
      annotations: readOnly,
    },
    (options) => answer(async () => text(await repository.show(options))),
  );
  server.registerTool(
    'git_diff',
    {
      title: 'Differences',
      description: 'What differs between two revisions, or between one and the working tree.',
      inputSchema: diffInput,
      annotations: readOnly,
    },
    (options) => answer(async () => text((await repository.diff(options)) || 'No differences.')),
  );
  return server;
}

async function answer(read: () => Promise<CallToolResult>): Promise<CallToolResult> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof GitError) return { ...text(error.message), isError: true };
    throw error;
  }
}

function text(content: string): CallToolResult {
  return { content: [{ type: 'text', text: content }] };
}

function structured(value: object): CallToolResult {
  return { ...text(JSON.stringify(value, null, 2)), structuredContent: { ...value } };
}

function listing(commits: readonly object[]): CallToolResult {
  return structured({ commits });
}

const { values, positionals } = parseArgs({ options: { http: { type: 'string' } }, allowPositionals: true });
try {
  const repository = await Repository.open(positionals[0] ?? '.');
  await serve(() => createGitServer(repository), {
    httpPort: values.http === undefined ? undefined : Number(values.http),
  });
} catch (error) {
  if (!(error instanceof GitError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
