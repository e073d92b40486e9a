/** A denial as administrators see it: with the finer word that callers are not told. */
import { type Static, Type } from 'typebox';
import type { Denial } from '../../../core/denial.ts';

export const DenialBody = Type.Object({
  denial_reason: Type.String(),
  denial_detail: Type.Optional(Type.String()),
  message: Type.String({ description: 'What a caller is told.' }),
});

export function denialBody({ reason, detail, message }: Denial): Static<typeof DenialBody> {
  return { denial_reason: reason, ...(detail === undefined ? {} : { denial_detail: detail }), message };
}
