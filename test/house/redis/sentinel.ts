/** A real primary, its replica, and three sentinels that watch them: the primary may be killed. */

import { Redis } from 'ioredis';
import { until } from '../until.ts';
import { type RedisProcess, startProcess } from './process.ts';

const NAME = 'registry';
const PASSWORD = 'of-the-registry';
const SENTINEL_PASSWORD = 'of-the-sentinels';
const SENTINELS = 3;

export type SentinelRedis = {
  readonly url: string;
  /** A client of whoever is primary now; closed by whoever asked. */
  readonly direct: () => Redis;
  /** The process that is primary now, as the sentinels say. */
  readonly primary: () => Promise<RedisProcess>;
  /** Resolves when another than `old` is primary, and answers. */
  readonly failedOver: (old: RedisProcess) => Promise<void>;
  /** Makes the replica the primary while both live. */
  readonly switchOver: () => Promise<void>;
  readonly close: () => Promise<void>;
};

export async function startSentinelRedis(): Promise<SentinelRedis> {
  const started: RedisProcess[] = [];
  const close = async () => void (await Promise.all(started.splice(0).map((one) => one.close())));
  const start = async (...to: Parameters<typeof startProcess>): Promise<RedisProcess> => {
    const process = await startProcess(...to);
    started.push(process);
    return process;
  };
  try {
    const first = await start((port) => [`port ${port}`, ...DATA]);
    const second = await start((port) => [`port ${port}`, ...DATA, `replicaof 127.0.0.1 ${first.port}`]);
    const watch = (port: number) => [
      `port ${port}`,
      `requirepass ${SENTINEL_PASSWORD}`,
      `sentinel sentinel-pass ${SENTINEL_PASSWORD}`,
      `sentinel monitor ${NAME} 127.0.0.1 ${first.port} 2`,
      `sentinel auth-pass ${NAME} ${PASSWORD}`,
      `sentinel down-after-milliseconds ${NAME} 500`,
      `sentinel failover-timeout ${NAME} 2000`,
    ];
    const sentinels = await Promise.all(Array.from({ length: SENTINELS }, () => start(watch, ['--sentinel'])));
    const hosts = sentinels.map(({ port }) => ({ host: '127.0.0.1', port }));
    const ask = async <T>(port: number, question: (client: Redis) => Promise<T>): Promise<T> => {
      const client = new Redis({ port, password: SENTINEL_PASSWORD, enableReadyCheck: false });
      client.on('error', () => {});
      try {
        return await question(client);
      } finally {
        client.disconnect();
      }
    };
    const primaryPort = async (sentinel = hosts[0]!.port): Promise<number> => {
      const said = await ask(sentinel, (client) => client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME));
      return Number(Array.isArray(said) ? said[1] : 0);
    };
    const direct = () =>
      new Redis({ sentinels: hosts, name: NAME, password: PASSWORD, sentinelPassword: SENTINEL_PASSWORD });
    await Promise.all(
      hosts.map(({ port }) =>
        until('each sentinel knows the others and the replica', async () => {
          const known = String(await ask(port, (client) => client.call('INFO', 'sentinel')));
          return known.includes(`status=ok`) && known.includes('slaves=1') && known.includes(`sentinels=${SENTINELS}`);
        }),
      ),
    );
    await until('the replica follows', async () => {
      const client = new Redis({ port: second.port, password: PASSWORD });
      const replication = await client.info('replication').finally(() => client.disconnect());
      return replication.includes('master_link_status:up');
    });
    const failedOver = async (old: RedisProcess): Promise<void> => {
      for (const { port } of hosts) {
        await until('another is primary', async () => (await primaryPort(port)) !== old.port, 15_000);
      }
    };
    const primary = async (): Promise<RedisProcess> => {
      const port = await primaryPort();
      return [first, second].find((one) => one.port === port) ?? first;
    };
    return {
      url: `redis+sentinel://:${PASSWORD}@${hosts.map(({ host, port }) => `${host}:${port}`).join(',')}/${NAME}?password=${SENTINEL_PASSWORD}`,
      direct,
      primary,
      failedOver,
      async switchOver() {
        const old = await primary();
        await ask(hosts[0]!.port, (client) => client.call('SENTINEL', 'FAILOVER', NAME));
        await failedOver(old);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

const DATA = [
  'save ""',
  `requirepass ${PASSWORD}`,
  `masterauth ${PASSWORD}`,
  'repl-diskless-sync-delay 0',
  'enable-debug-command local',
];
