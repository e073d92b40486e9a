/** A change that was made: its answer names the record in the body, and in a header as every audited route does. */

import type { FastifyReply } from 'fastify';
import { type TSchema, Type } from 'typebox';
import type { Administered } from '../../../gateway/administer.ts';

export const AuditRef = Type.String({ description: 'The id of the record of this change.' });

/** The body of what there is now, and of the record that says so. */
export function withAuditRef<Body extends TSchema>(body: Body) {
  return Type.Intersect([body, Type.Object({ audit_ref: AuditRef })]);
}

export const Removed = Type.Object({ success: Type.Boolean(), audit_ref: AuditRef });

/** `bodyOf` makes the rest of the body. */
export function answered<T, Body extends object>(
  reply: FastifyReply,
  { answer, auditRef }: Administered<T>,
  bodyOf: (answer: T) => Body,
): Body & { audit_ref: string } {
  reply.header('x-talos-audit-ref', auditRef);
  return { ...bodyOf(answer), audit_ref: auditRef };
}
