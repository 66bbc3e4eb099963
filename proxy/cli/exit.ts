/** What the exit codes of the commands mean. */

export const EXIT = {
  well: 0,
  /** It could not be done: the ops port cannot be reached, or refuses; of `probe`, the session is not complete. */
  failed: 1,
  /** Wrong usage, or a configuration that cannot be. */
  usage: 2,
  /** No such backend, or no such session. */
  unknown: 3,
  /** `status`: the proxy takes nothing new; `drain --wait`: sessions are left when the time is over. */
  notYet: 4,
  /** By Ctrl-C, as shells say it. */
  interrupted: 130,
} as const;

export const EXIT_CODES = `Exit codes: 0 well, 1 it could not be done, 2 wrong usage, 3 no such backend or session,
4 not ready, or sessions are left, 130 interrupted.
`;
