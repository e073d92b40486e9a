/**
 * The policies of teams as this process knows them: all of those of a team must allow what it asks for, so a further one
 * never gives more. Whether they changed is asked all the time, in one row; when nobody can say, what is known is believed
 * for `ageMsMax`, and then teams that have any are allowed nothing.
 */
import type { Clock } from '../core/clock.ts';
import { type Denial, deny } from '../core/denial.ts';
import { compileGlob, type Glob, globMatches } from '../core/glob.ts';
import { type Principal, teamDefault } from '../core/principal.ts';
import type { ScopeRequest } from '../core/scope.ts';
import { everyServer, everyTeam, type PolicyBook, type TeamPolicy, type ToolPatterns } from '../core/team-policy.ts';
import { Poller } from '../shared-state/poller.ts';
import type { TeamPolicyStore } from '../storage/team-policies.ts';
import type { Log } from '../telemetry/telemetry.ts';

/** What the policies say of one request of one principal. */
export interface TeamPolicyView {
  /** Undefined when none forbids it. Without a method, whether anything of the server is allowed. */
  readonly denialOf: (request: ScopeRequest, principal: Principal) => Denial | undefined;
  /** Whether a human has to approve the call of a tool. */
  readonly demandsApproval: (request: ScopeRequest, principal: Principal) => boolean;
  /** Each policy of the principal's team by itself. */
  readonly explain: (request: ScopeRequest, principal: Principal) => readonly ExplainedPolicy[];
}

export interface ExplainedPolicy {
  readonly id: string;
  readonly allows: boolean;
  readonly demandsApproval: boolean;
}

export interface TeamPolicies extends TeamPolicyView {
  /** What is known now. */
  readonly book: () => PolicyBook;
  /** Asks at once, so that a change that was just made is seen. Throws `STORE_UNAVAILABLE`. */
  readonly refresh: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface TeamPoliciesOptions {
  readonly store: TeamPolicyStore;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly log: Log;
  readonly pollMs: number;
  readonly ageMsMax: number;
}

/** Resolves when the policies were read once; throws `STORE_UNAVAILABLE` when they cannot be. */
export async function startTeamPolicies(options: TeamPoliciesOptions): Promise<TeamPolicies> {
  const { store, ageMsMax } = options;
  let book: PolicyBook = { version: -1, policies: [] };
  let byTeam: PoliciesByTeam = new Map();

  async function ask(): Promise<void> {
    if ((await store.version()) === book.version) return;
    book = await store.load();
    byTeam = compileAll(book.policies.map(({ policy }) => policy));
  }

  const poller = new Poller({ ...options, subject: 'policies of teams', ask });
  await poller.ask();
  poller.start();

  return {
    ...viewOf(
      () => byTeam,
      () => poller.ageMs > ageMsMax,
    ),
    book: () => book,
    refresh: () => poller.refresh(),
    close: () => poller.close(),
  };
}

/** The policies of a book that stays as it is. */
export function policyViewOf(policies: readonly TeamPolicy[]): TeamPolicyView {
  const byTeam = compileAll(policies);
  return viewOf(
    () => byTeam,
    () => false,
  );
}

function viewOf(byTeam: () => PoliciesByTeam, isStale: () => boolean): TeamPolicyView {
  const policiesOf = (principal: Principal) => policiesFor(byTeam(), principal);
  return {
    denialOf(request, principal) {
      const policies = policiesOf(principal);
      // Where nothing was ruled, there is nothing to be unsure of but lists: calls need the store as well.
      if (policies.length > 0 && isStale()) return stale;
      for (const policy of policies) {
        const detail = refusalOf(policy, request);
        if (detail !== undefined) return { ...deny('SCOPE_MISMATCH', detail), message };
      }
      return undefined;
    },
    demandsApproval: (request, principal) => policiesOf(principal).some((policy) => demands(policy, request)),
    explain: (request, principal) =>
      policiesOf(principal).map((policy) => ({
        id: policy.id,
        allows: refusalOf(policy, request) === undefined,
        demandsApproval: demands(policy, request),
      })),
  };
}

const message = 'The policy of the team does not allow this.';

const stale: Denial = {
  ...deny('SCOPE_MISMATCH', 'policy_stale'),
  message: 'The policies of teams cannot be read now, so nothing is allowed.',
  retryable: true,
};

interface CompiledPolicy {
  readonly id: string;
  readonly teamId: string;
  readonly servers: ReadonlySet<string>;
  readonly tools: CompiledPatterns;
  readonly denyByDefault: boolean;
  readonly approval: CompiledPatterns;
}

type CompiledPatterns = ReadonlyMap<string, readonly Glob[]>;
type PoliciesByTeam = ReadonlyMap<string, readonly CompiledPolicy[]>;

function compileAll(policies: readonly TeamPolicy[]): PoliciesByTeam {
  return Map.groupBy(policies.map(compile), ({ teamId }) => teamId);
}

function policiesFor(byTeam: PoliciesByTeam, principal: Principal): readonly CompiledPolicy[] {
  const team = principal.authMode === 'anonymous' ? teamDefault : principal.teamId;
  const own = team === everyTeam ? [] : (byTeam.get(team) ?? []);
  return [...(byTeam.get(everyTeam) ?? []), ...own];
}

function compile(policy: TeamPolicy): CompiledPolicy {
  return {
    id: policy.id,
    teamId: policy.team_id,
    servers: new Set(policy.allowed_servers),
    tools: compilePatterns(policy.allowed_tools),
    denyByDefault: policy.deny_by_default,
    approval: compilePatterns(policy.require_approval),
  };
}

function compilePatterns(patterns: ToolPatterns): CompiledPatterns {
  return new Map(
    Object.entries(patterns).map(([server, texts]) => [
      server,
      texts.map(compileGlob).filter((glob) => glob !== undefined),
    ]),
  );
}

/** The word for the record, undefined when the policy allows it. */
function refusalOf({ servers, tools, denyByDefault }: CompiledPolicy, request: ScopeRequest): string | undefined {
  const isNamed = servers.has(request.server);
  if (servers.size > 0 && !isNamed) return 'policy_server';
  const listed = patternsFor(tools, request.server);
  if (listed === undefined) {
    // A server that is named has all its tools allowed, and so has every server where no list of tools is.
    const isAllowed = isNamed || tools.size === 0 || !denyByDefault;
    return isAllowed ? undefined : 'policy_server';
  }
  const { method } = request;
  return method === undefined || matches(listed, method) ? undefined : 'policy_tool';
}

function demands({ approval }: CompiledPolicy, { server, method }: ScopeRequest): boolean {
  return method !== undefined && matches(patternsFor(approval, server) ?? [], method);
}

/** Those of the server and those of every server. */
function patternsFor(patterns: CompiledPatterns, server: string): readonly Glob[] | undefined {
  const [own, all] = [patterns.get(server), patterns.get(everyServer)];
  return own === undefined && all === undefined ? undefined : [...(own ?? []), ...(all ?? [])];
}

function matches(globs: readonly Glob[], name: string): boolean {
  return globs.some((glob) => globMatches(glob, name));
}
