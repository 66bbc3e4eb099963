/** What a sound configuration leaves open, said once at the start. Pure. */

const HUNG =
  'neither --health-path nor --answer-seconds is set (healthPath, answerSeconds in code): a server that hangs and still takes ' +
  'connections keeps its sessions and gets new ones, and their calls wait until the client gives up. Set --health-path to a ' +
  'path that a healthy server answers with 2xx: then it is dead within some 5 s, and its sessions migrate';

/** A sentence for each. */
export function warningsOf(config: {
  readonly healthPath: string | undefined;
  readonly answerSeconds: number | undefined;
}): readonly string[] {
  return config.healthPath === undefined && config.answerSeconds === undefined ? [HUNG] : [];
}
