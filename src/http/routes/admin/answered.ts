/** A change that was made: its answer names the record in a header, as every audited route does. */
import type { FastifyReply } from 'fastify';
import type { Administered } from '../../../gateway/administer.ts';

export function answered<T>(reply: FastifyReply, administered: Administered<T>): Administered<T> {
  reply.header('x-talos-audit-ref', administered.auditRef);
  return administered;
}
