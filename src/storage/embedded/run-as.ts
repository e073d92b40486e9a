/** The account of a program, as options for `spawn`; empty for this process's own user. */
export interface RunAs {
  readonly uid?: number;
  readonly gid?: number;
}

export const ownUser: RunAs = {};
