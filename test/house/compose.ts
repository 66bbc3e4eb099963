/** docker-compose.yml brought up under a name and ports of its own, and what may befall it. */

import { z } from 'zod';
import { type Ran, ran } from './engine.ts';

/** A first build downloads packages. Milliseconds. */
export const UP_MS = 240_000;
/** For one command on containers that are built. */
const COMMAND_MS = 60_000;
/** Ports that the engine picks, so that it may run beside another. */
const PORTS = { MCP_LISTEN: '127.0.0.1:', OPS_PORTS: '', PROMETHEUS_LISTEN: '127.0.0.1:' };

export type Container = { readonly id: string; readonly name: string };

export type Site = {
  /** What `docker compose` printed; rejects, with what it complained of, where it fails. */
  readonly compose: (...args: readonly string[]) => Promise<string>;
  /** `host:port` where a port of a service is published; of its first container. */
  readonly at: (service: string, port: number) => Promise<string>;
  /** Those that run. */
  readonly containers: (service: string) => Promise<readonly Container[]>;
  /** Starts one more, waits until it is healthy, stops this one and removes it: as ECS rolls. */
  readonly replace: (service: string, container: Container) => Promise<void>;
  /** SIGKILL to one container; the engine does not start it again. */
  readonly kill: (container: Container) => Promise<void>;
  /** Whatever is missing is started, and healthy when this resolves. */
  readonly mend: () => Promise<void>;
  /** The last lines of all services. */
  readonly logs: () => Promise<string>;
  /** Containers, network and volumes are gone. Idempotent. */
  readonly down: () => Promise<void>;
};

const LISTED = z.array(z.object({ Id: z.string(), Name: z.string() }));

export function createSite(project: string): Site {
  const run = (args: readonly string[], ms: number) =>
    ran('docker', ['compose', '--ansi', 'never', '--project-name', project, ...args], { env: PORTS, ms });
  const compose = async (...args: readonly string[]) =>
    good(`docker compose ${args.join(' ')}`, await run(args, args.includes('--build') ? UP_MS : COMMAND_MS));
  const docker = async (...args: readonly string[]) =>
    good(`docker ${args.join(' ')}`, await ran('docker', args, { ms: COMMAND_MS }));

  const containers = async (service: string) => {
    const ids = (await compose('ps', '--quiet', '--status', 'running', service)).split('\n').filter((id) => id !== '');
    if (ids.length === 0) return [];
    const listed = LISTED.parse(JSON.parse(await docker('inspect', ...ids)));
    return listed.map(({ Id, Name }) => ({ id: Id, name: Name.slice(1) }));
  };
  return {
    compose,
    containers,
    at: async (service, port) => (await compose('port', service, String(port))).trim(),
    async replace(service, { id }) {
      const scale = `${service}=${(await containers(service)).length + 1}`;
      await compose('up', '--detach', '--wait', '--no-deps', '--no-recreate', '--scale', scale, service);
      await docker('stop', id);
      await docker('rm', id);
    },
    async kill({ id }) {
      await docker('kill', '--signal', 'KILL', id);
    },
    async mend() {
      await compose('up', '--detach', '--wait', '--no-recreate');
    },
    logs: async () => (await run(['logs', '--no-color', '--tail', '40'], COMMAND_MS)).out,
    async down() {
      await compose('down', '--volumes', '--remove-orphans', '--timeout', '1');
    },
  };
}

function good(command: string, { code, out, err }: Ran): string {
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${`${out}\n${err}`.trim().slice(-2000)}`);
  return out;
}
