/** A verified capability with the constraints of its whole chain compiled: what is remembered, and what decisions use. */
import type { CapabilityLink, VerifiedCapability } from '../core/capability.ts';
import {
  type CallLimit,
  type CompiledConstraint,
  type CompiledConstraints,
  compileConstraints,
  type NamedConstraint,
  type SchemaCompiler,
} from './constraints.ts';

/** One token of the chain, by its own conditions. */
export interface AuthorityLink {
  readonly link: CapabilityLink;
  readonly constraints: readonly NamedConstraint[];
}

export interface Authority {
  readonly capability: VerifiedCapability;
  /** Of every link: all must hold. */
  readonly constraints: CompiledConstraints;
  /** How often the capability may be used; each is counted under the hash of the link that says so. */
  readonly limits: readonly CallLimit[];
  /** The same constraints by link, root first, for explanations. */
  readonly links: readonly AuthorityLink[];
}

export function compileAuthority(capability: VerifiedCapability, compileSchema?: SchemaCompiler): Authority {
  const links = capability.links.map((link) => ({
    link,
    constraints: compileConstraints(link.constraints, { linkHash: link.hash, compileSchema }),
  }));
  const all: CompiledConstraint[] = links.flatMap(({ constraints }) => constraints.map(({ compiled }) => compiled));
  return {
    capability,
    constraints: {
      byName: all.flatMap(({ byName }) => byName ?? []),
      byCall: all.flatMap(({ byCall }) => byCall ?? []),
    },
    limits: all.flatMap(({ limit }) => limit ?? []),
    links,
  };
}
