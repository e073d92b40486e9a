/**
 * What a team may use of the tool servers, and what of it a human has to approve: a condition beside capabilities and
 * roles. The members are those of the public schema `mcp/policy`, and `require_approval`.
 */
import { compileGlob } from './glob.ts';
import { serverIdPattern } from './scope.ts';

export interface TeamPolicy {
  readonly id: string;
  /** `*` for every team. */
  readonly team_id: string;
  /** Empty for all. */
  readonly allowed_servers: readonly string[];
  /** Names of tools by server, with `*` and `?`. */
  readonly allowed_tools: ToolPatterns;
  /** What is said of tools of a server that neither list names. */
  readonly deny_by_default: boolean;
  /** Tools that are called only when a human has approved the call. */
  readonly require_approval: ToolPatterns;
}

/** By server id, or `*` for every server. */
export type ToolPatterns = Readonly<Record<string, readonly string[]>>;

export const everyTeam = '*';
export const everyServer = '*';

export interface StoredPolicy {
  readonly policy: TeamPolicy;
  /** Counts the changes of this policy, from 1. */
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** All of them, as they are at `version`. */
export interface PolicyBook {
  readonly version: number;
  readonly policies: readonly StoredPolicy[];
}

export type PolicyChange =
  | { readonly kind: 'put'; readonly policy: TeamPolicy }
  | { readonly kind: 'delete'; readonly policyId: string };

const plain = /^[^\p{Cc}]{1,255}$/u;

/** What is wrong with a policy, one sentence each; empty when nothing is. */
export function policyProblems({
  id,
  team_id,
  allowed_servers,
  allowed_tools,
  require_approval,
}: TeamPolicy): string[] {
  return [
    isPlain(id) ? [] : ['The id is 1 to 255 printable characters.'],
    isPlain(team_id) ? [] : ['team_id is 1 to 255 printable characters, or * for every team.'],
    allowed_servers.every((server) => serverIdPattern.test(server)) ? [] : ['allowed_servers holds ids of servers.'],
    patternProblems('allowed_tools', allowed_tools),
    patternProblems('require_approval', require_approval),
  ].flat();
}

function isPlain(text: string): boolean {
  return plain.test(text) && text.isWellFormed();
}

function patternProblems(member: string, patterns: ToolPatterns): string[] {
  const servers = Object.keys(patterns).every((server) => server === everyServer || serverIdPattern.test(server));
  const globs = Object.values(patterns)
    .flat()
    .every((pattern) => compileGlob(pattern) !== undefined);
  return [
    ...(servers ? [] : [`The keys of ${member} are ids of servers, or *.`]),
    ...(globs ? [] : [`${member} holds names of tools, in which * and ? stand for what is between slashes.`]),
  ];
}
