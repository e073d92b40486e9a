import { describe, expect, it } from 'vitest';
import { denialCode, denialReasons, deny, isDenial } from '../../src/core/denial.ts';
import { errorTable } from '../../src/core/errors.ts';

describe('denials', () => {
  it('have the nine reasons that clients know', () => {
    expect([...denialReasons].sort()).toEqual(
      'DELEGATION_INVALID EXPIRED INVALID_FRAME NO_CAPABILITY REPLAY REVOKED SCOPE_MISMATCH SIGNATURE_INVALID UNKNOWN_TOOL'.split(
        ' ',
      ),
    );
  });

  it.each(denialReasons)('%s has a sentence of its own and answers 403', (reason) => {
    const { message } = deny(reason);
    expect(message).toMatch(/^[A-Z].*\.$/);
    expect(denialReasons.filter((other) => deny(other).message === message)).toEqual([reason]);
    expect(errorTable[denialCode(reason)].status).toBe(403);
  });

  it('keep the detail out of the sentence', () => {
    const denial = deny('SCOPE_MISMATCH', 'constraint:paths');
    expect(denial.detail).toBe('constraint:paths');
    expect(denial.message).toBe(deny('SCOPE_MISMATCH').message);
    expect(deny('SCOPE_MISMATCH')).not.toHaveProperty('detail');
  });

  it('are told from what stands in their place', () => {
    expect(isDenial(deny('EXPIRED'))).toBe(true);
    expect(isDenial({ subject: 'did:talos:agent' })).toBe(false);
  });
});
