/** Whose events somebody may see. The one rule of every way to read the log: pages, statistics, proofs and streams. */

/** Those of all teams, or of the teams that are named. */
export type VisibleTeams = 'all' | readonly string[];

/** Whether an event is to be shown. What belongs to no team is for those who see all. */
export function isVisible(teams: VisibleTeams, teamId: string | null | undefined): boolean {
  if (teams === 'all') return true;
  return typeof teamId === 'string' && teams.includes(teamId);
}
