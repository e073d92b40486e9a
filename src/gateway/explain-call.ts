/**
 * Why would this call be allowed or refused? A dry run against the present policy, for operators: it asks the same
 * functions as a call, in the same order, sends the tool nothing, and says of every link and condition how it stands.
 */
import type { Recorder } from '../audit/recorder.ts';
import type { VerifiedCapability } from '../core/capability.ts';
import { type Denial, isDenial } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import { anonymous, type BearerPrincipal, type Principal } from '../core/principal.ts';
import { needsUser } from '../core/server-auth.ts';
import type { KnownToolOf } from '../core/tool-class.ts';
import type { CatalogTool, McpServer, Registry } from '../mcp/registry.ts';
import type { Authority } from '../policy/authority.ts';
import type { CapabilityVerifier } from '../policy/capability-verifier.ts';
import { decideByName, decideCall, type PolicyMode } from '../policy/decide.ts';
import { type CallFacts, type ExplainedLink, explainAuthority, explainRefused, remediesOf } from '../policy/explain.ts';
import type { ExplainedPolicy } from '../policy/team-policies.ts';
import type { RevocationStore } from '../storage/revocations.ts';
import { type AdminRequest, adminDraft } from './administer.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import type { Caller } from './caller.ts';
import { pinDenial, type Standing, type ToolPins } from './tool-pins.ts';

/** The call that is asked about. */
export interface ExplainedCall {
  readonly serverId: string;
  readonly toolName: string;
  readonly input: JsonObject;
  /** Who would call; when absent, whoever presents the capability, and nobody when there is none either. */
  readonly principal?: BearerPrincipal;
  /** What their key or token carries. */
  readonly permissions?: readonly string[];
  readonly capability?: string;
  /** Whether they would sign the request with the subject's key. */
  readonly provesPossession: boolean;
}

export interface Explanation {
  /** Undefined when the call would be allowed. */
  readonly denial: Denial | undefined;
  /** Whether the gateway knows the tool now. Without it, conditions on its definition count as not met. */
  readonly isToolKnown: boolean;
  /** Whether the server lists its tools to each user by their own account, which is used for nobody else's question. */
  readonly listsPerUser: boolean;
  /** How the definition of now stands to the pin; absent when there is no such tool now. */
  readonly pin?: ExplainedPin;
  /** Each policy of the caller's team by itself. */
  readonly policies: readonly ExplainedPolicy[];
  /** What the tool's own schema says of the arguments. */
  readonly inputFaults: readonly string[];
  /** Root first; empty without a capability, and when it is no token at all. */
  readonly links: readonly ExplainedLink[];
  /** What would have to be otherwise; empty when the call would be allowed. */
  readonly remedies: readonly string[];
  readonly auditRef: string;
}

export interface ExplainedPin {
  /** `unpinned`: it would be pinned by the call. */
  readonly state: Standing;
  /** Of the definition that may be used. */
  readonly pinnedHash?: string;
  /** Of the definition of now. */
  readonly definitionHash: string;
}

export interface ExplainCallOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly recorder: Pick<Recorder, 'record'>;
  readonly verifier: CapabilityVerifier;
  readonly revocations: Pick<RevocationStore, 'find'>;
  /** Why such a caller may not use the capability, if so. */
  readonly possessionFault: (
    caller: Pick<Caller, 'principal' | 'attestedDid'>,
    capability: VerifiedCapability,
  ) => Denial | undefined;
  readonly registry: Registry;
  readonly knownTool: KnownToolOf;
  readonly pins: Pick<ToolPins, 'standingOf' | 'of' | 'upToDate'>;
  readonly policyMode: PolicyMode;
}

export type ExplainCall = (request: AdminRequest, call: ExplainedCall, signal: AbortSignal) => Promise<Explanation>;

/** Throws the denial when the caller may not ask. That it was asked is on record; the arguments are not. */
export function createExplainCall(options: ExplainCallOptions): ExplainCall {
  const { authorizeAction, recorder, verifier, registry, knownTool } = options;
  return async (request, call, signal) => {
    await authorizeAction('admin.policy.explain', request.caller, request.facts);
    const verified = call.capability === undefined ? undefined : await verifier.authorityOf(call.capability);
    const authority = verified === undefined || isDenial(verified) ? undefined : verified;
    const server = registry.get(call.serverId);
    const tool = await findTool(options, server, call, signal);
    const facts = factsOf(knownTool, call, tool);
    const pin = server && tool && pinOf(options, server, tool);
    const denial =
      verified !== undefined && isDenial(verified) ? verified : judge(options, call, facts, authority, pin);
    const links =
      authority === undefined ? await refusedLinks(options, call, facts) : explainAuthority(authority, facts);
    const eventId = await record(recorder, request, call, authority, denial);
    return {
      denial,
      isToolKnown: tool !== undefined,
      listsPerUser: server !== undefined && needsUser(server.spec),
      ...(pin === undefined ? {} : { pin }),
      policies: options.policyMode.policies?.explain(facts.request, principalOf(call, authority)) ?? [],
      inputFaults: tool?.validate(call.input) ?? [],
      links,
      remedies: denial === undefined ? [] : remedies(denial, authority === undefined ? [] : links),
      auditRef: eventId,
    };
  };
}

/** What can be read of a capability that does not count, with what is wrong with each link. */
async function refusedLinks(
  { verifier, revocations }: ExplainCallOptions,
  { capability }: ExplainedCall,
  facts: CallFacts,
): Promise<readonly ExplainedLink[]> {
  const links = capability === undefined ? [] : await verifier.linksOf(capability);
  if (links.length === 0) return [];
  const known = await revocations.find(links);
  return explainRefused(links, ({ hash, id }) => known.find(({ value }) => value === hash || value === id), facts);
}

/** The steps of a call that may refuse it. */
function judge(
  { possessionFault, policyMode }: ExplainCallOptions,
  call: ExplainedCall,
  { request, tool, args }: CallFacts,
  authority: Authority | undefined,
  pin: ExplainedPin | undefined,
): Denial | undefined {
  // Whether the subject's key signs is not to be seen from a dry run: it is taken as it was said.
  if (authority !== undefined && !call.provesPossession) {
    const denial = possessionFault({ principal: call.principal ?? anonymous }, authority.capability);
    if (denial !== undefined) return denial;
  }
  const byName = decideByName(
    request,
    { ...permissionsOf(call), principal: principalOf(call, authority), authority },
    policyMode,
  );
  if (!byName.allow) return byName.denial;
  const changed = pin && pin.state !== 'unpinned' && pinDenial(request.server, request.method ?? '', pin.state);
  if (changed) return changed;
  const decision = decideCall(byName, tool, args);
  return decision.allow ? undefined : decision.denial;
}

function pinOf({ pins }: ExplainCallOptions, server: McpServer, tool: CatalogTool): ExplainedPin {
  const pinnedHash = pins.of(server.id, tool.definition.name)?.definitionHash;
  return {
    state: pins.standingOf(server, tool),
    definitionHash: tool.definitionHash,
    ...(pinnedHash === undefined ? {} : { pinnedHash }),
  };
}

function permissionsOf({ permissions }: ExplainedCall): { permissions?: readonly string[] } {
  return permissions === undefined ? {} : { permissions };
}

function principalOf({ principal }: ExplainedCall, authority: Authority | undefined): Principal {
  if (principal !== undefined) return principal;
  if (authority === undefined) return anonymous;
  const { subject, teamId } = authority.capability;
  return { authMode: 'bearer', id: subject, teamId };
}

/** The tool as its server lists it to everybody; undefined when there is none, or its server does not answer. */
async function findTool(
  { pins }: ExplainCallOptions,
  server: McpServer | undefined,
  { toolName }: ExplainedCall,
  signal: AbortSignal,
): Promise<CatalogTool | undefined> {
  if (server === undefined || needsUser(server.spec)) return undefined;
  try {
    const read = async () => [await server.tool(toolName, signal)].filter((tool) => tool !== undefined);
    return (await pins.upToDate(server, server, read))[0];
  } catch (error) {
    if (error instanceof TalosError) return undefined;
    throw error;
  }
}

function factsOf(knownTool: KnownToolOf, call: ExplainedCall, tool: CatalogTool | undefined): CallFacts {
  const { serverId, toolName, input } = call;
  const hashes = tool === undefined ? {} : { schemaHash: tool.schemaHash, definitionHash: tool.definitionHash };
  return {
    request: { server: serverId, method: toolName },
    tool: { ...knownTool(serverId, toolName), ...hashes },
    args: input,
  };
}

function remedies(denial: Denial, links: readonly ExplainedLink[]): readonly string[] {
  const ofLinks = remediesOf(links);
  if (ofLinks.length > 0) return ofLinks;
  const sentence = remedySentences[denial.detail ?? denial.reason] ?? remedySentences[denial.reason];
  return sentence === undefined ? [] : [sentence];
}

const remedySentences: Readonly<Record<string, string>> = {
  NO_CAPABILITY: 'a capability whose scope covers the call, or a role with mcp:invoke for the caller',
  EXPIRED: 'a capability that is valid now',
  REVOKED: 'a new capability; a revocation cannot be taken back',
  SIGNATURE_INVALID: 'a capability in its canonical form, signed by the key that it names as its issuer',
  DELEGATION_INVALID: 'a chain in which each link may follow the one before it',
  issuer_untrusted: 'a capability of an issuer that TALOS_TRUSTED_ISSUERS names',
  root_untrusted: 'a chain whose root is of an issuer that TALOS_TRUSTED_ISSUERS names',
  not_delegatable: 'a parent that is delegatable',
  possession_unproven: "a request that is signed with the subject's key (HTTP attestation)",
  subject_mismatch:
    "a request that is signed with the subject's key (HTTP attestation), or a caller of the subject's name",
  not_yet_valid: 'patience: the capability counts from a later time on',
  revocations_unknown: 'a store that answers',
  policy_server: "a policy of the caller's team that allows the server (talos policies list)",
  policy_tool: "a policy of the caller's team that allows the tool (talos policies list)",
  definition_changed: 'an operator who approves the definition of now (talos pins diff, talos pins approve)',
  definition_rejected:
    'a server that gives the approved definition again, or an operator who approves this one after all',
  rbac_permission_denied: 'a role or key with mcp:invoke where the tool lies',
};

async function record(
  recorder: Pick<Recorder, 'record'>,
  request: AdminRequest,
  call: ExplainedCall,
  authority: Authority | undefined,
  denial: Denial | undefined,
): Promise<string> {
  const resource = { type: 'policy', id: 'explain' };
  const draft = adminDraft('admin.policy.explain', request, resource, 'policy_explained', {
    explained_server: call.serverId,
    explained_tool: call.toolName,
    explained_principal: call.principal?.id,
    explained_hash: authority?.capability.hash,
    explained_decision: denial === undefined ? 'allow' : `${denial.reason} ${denial.detail ?? ''}`.trimEnd(),
  });
  return (await recorder.record(draft)).eventId;
}
