/** The faults, each as what is done to a deployment. */

import { execFile } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Fault, Scene } from './scene.ts';

const last = ({ ms }: Scene): Promise<void> => delay(ms);

const REDIS: readonly Fault[] = [
  { name: 'none', run: last },
  {
    name: 'Redis stopped, back empty',
    async run(scene) {
      await scene.redis.kill9();
      await last(scene);
      await scene.redis.start();
    },
  },
  {
    name: 'Redis hangs (SIGSTOP)',
    async run(scene) {
      scene.redis.pause();
      await last(scene);
      scene.redis.resume();
    },
  },
  {
    name: 'FLUSHALL',
    async run(scene) {
      await scene.redisClient.flushall();
      await last(scene);
    },
  },
  {
    name: 'memory full (maxmemory, noeviction)',
    async run(scene) {
      await scene.redisClient.config('SET', 'maxmemory-policy', 'noeviction');
      await scene.redisClient.config('SET', 'maxmemory', '1mb');
      await last(scene);
      await scene.redisClient.config('SET', 'maxmemory', '0');
    },
  },
  {
    name: 'READONLY (made a replica)',
    async run(scene) {
      // Of nobody: it keeps what it has, and takes no changes.
      await scene.redisClient.replicaof('127.0.0.1', 1);
      await last(scene);
      await scene.redisClient.replicaof('NO', 'ONE');
    },
  },
  ...[200, 900].map((ms): Fault => ({
    name: `Redis ${ms} ms away`,
    async run(scene) {
      for (const relay of scene.relays) relay.delay(ms);
      await last(scene);
      for (const relay of scene.relays) relay.delay(0);
    },
  })),
  {
    name: 'one proxy cut off from Redis, silently',
    async run(scene) {
      scene.relays[1]?.silence(true);
      await last(scene);
      scene.relays[1]?.silence(false);
    },
  },
  {
    name: 'one proxy cut off from Redis, refused',
    async run(scene) {
      await scene.relays[1]?.refuse();
      await last(scene);
      await scene.relays[1]?.accept();
    },
  },
  ...(['pubsub', 'normal'] as const).map((type): Fault => ({
    name: type === 'pubsub' ? 'subscribers killed, five times' : 'all Redis clients killed, five times',
    async run(scene) {
      for (let time = 0; time < 5; time += 1) {
        await scene.redisClient.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
        if (type === 'normal') await scene.redisClient.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        await delay(scene.ms / 5);
      }
    },
  })),
  {
    name: 'password changed',
    async run(scene) {
      await scene.redisClient.config('SET', 'requirepass', 'another');
      await scene.redisClient.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await scene.redisClient.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await last(scene);
      await scene.redisClient.config('SET', 'requirepass', '');
    },
  },
  {
    name: 'Redis away, and a server killed -9',
    async run(scene) {
      await scene.redis.kill9();
      await delay(scene.ms / 4);
      await scene.servers.get('a').kill();
      await delay((scene.ms * 3) / 4);
      await scene.redis.start();
      await scene.servers.get('a').restart();
    },
  },
];

const SERVERS: readonly Fault[] = [
  {
    name: 'one of two servers killed -9: 100 streams, 100 calls of 1 s',
    servers: ['a', 'b'],
    clients: 100,
    callMs: 1_000,
    async run(scene) {
      await scene.servers.get('a').kill();
      await last(scene);
      await scene.servers.get('a').restart();
    },
  },
  {
    name: 'all servers killed -9 at once, and started again',
    async run(scene) {
      await Promise.all(scene.servers.servers.map((server) => server.restart()));
      await last(scene);
    },
  },
  {
    name: 'one of three servers hangs (SIGSTOP)',
    async run(scene) {
      scene.servers.get('a').pause();
      await last(scene);
      scene.servers.get('a').resume();
    },
  },
];

const PROXIES: readonly Fault[] = [
  {
    name: 'a proxy killed -9, behind HAProxy',
    balanced: true,
    async run(scene) {
      await scene.proxies[0].kill();
      await last(scene);
      await scene.proxies[0].start();
    },
  },
  {
    name: 'both proxies replaced one after the other (SIGTERM), behind HAProxy',
    balanced: true,
    async run(scene) {
      for (const proxy of scene.proxies) {
        await proxy.stop();
        await proxy.start();
        await delay(scene.ms / 4);
      }
    },
  },
  {
    name: 'SIGTERM twice, behind HAProxy',
    balanced: true,
    async run(scene) {
      const [proxy] = scene.proxies;
      const stopped = proxy.stop();
      await delay(500);
      proxy.process.signal('SIGTERM');
      const code = await stopped;
      if (code !== 1) throw new Error(`The proxy ended with ${code}`);
      await last(scene);
      await proxy.start();
    },
  },
  {
    name: 'a proxy with 256 file descriptors, and 400 silent connections',
    async run(scene) {
      const { pid, port } = scene.proxies[0].process;
      await promisify(execFile)('prlimit', ['--pid', String(pid), '--nofile=256:4096']);
      const silent = Array.from({ length: 400 }, () => connect(port, '127.0.0.1').on('error', () => {}));
      await last(scene);
      for (const socket of silent) socket.destroy();
      await promisify(execFile)('prlimit', ['--pid', String(pid), '--nofile=4096:4096']);
    },
  },
];

export const FAULTS: readonly Fault[] = [...REDIS, ...SERVERS, ...PROXIES];
