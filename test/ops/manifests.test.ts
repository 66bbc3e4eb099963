/** The manifests of docs/kubernetes: valid for the API, and in agreement with the programs and with each other. */

import { expect, test } from 'vitest';
import { z } from 'zod';
import { parseConfig } from '../../proxy/config.ts';
import { OPTIONS } from '../../proxy/options.ts';
import { DEMO_VARIABLES, parseDemoConfig } from '../../server/demo/config.ts';
import { type Manifest, manifests, schemaFault, typeFaults } from '../house/manifests.ts';

const SECONDS_60 = 60_000;
const LABELS = z.record(z.string(), z.string());
const WORKLOAD = z.object({
  metadata: z.object({ name: z.string(), namespace: z.string() }),
  spec: z.object({
    selector: z.object({ matchLabels: LABELS }),
    template: z.object({
      metadata: z.object({ labels: LABELS }),
      spec: z.object({
        terminationGracePeriodSeconds: z.number(),
        containers: z.tuple([
          z.object({
            env: z.array(z.object({ name: z.string(), value: z.string() })).default([]),
            ports: z.array(z.object({ name: z.string(), containerPort: z.number() })),
            lifecycle: z.object({ preStop: z.object({ sleep: z.object({ seconds: z.number() }) }) }).optional(),
          }),
        ]),
      }),
    }),
  }),
});
const SERVICE = z.object({
  metadata: z.object({ name: z.string(), namespace: z.string() }),
  spec: z.object({
    clusterIP: z.string().optional(),
    selector: LABELS,
    ports: z.array(z.object({ port: z.number(), targetPort: z.string() })),
  }),
});

const workloads = () =>
  manifests()
    .filter(({ kind }) => kind === 'Deployment' || kind === 'StatefulSet')
    .map((manifest) => WORKLOAD.parse(manifest));
const services = () =>
  manifests()
    .filter(({ kind }) => kind === 'Service')
    .map((manifest) => SERVICE.parse(manifest));

function workload(name: string) {
  const { spec } = WORKLOAD.parse(workloads().find(({ metadata }) => metadata.name === name));
  const pod = spec.template.spec;
  const [container] = pod.containers;
  return { pod, container, env: Object.fromEntries(container.env.map((one) => [one.name, one.value])) };
}

test('each is what its schema says', () => {
  expect(manifests().map(schemaFault)).toEqual(manifests().map(() => undefined));
  expect(manifests().length).toBeGreaterThan(0);
});

test('no field is unknown to the API', { timeout: SECONDS_60 }, async () => {
  expect(await typeFaults(manifests())).toBe('');
});

test('a fault is found, at whatever depth', { timeout: SECONDS_60 }, async () => {
  const spoilt = (from: string, to: string): readonly Manifest[] =>
    manifests().map((manifest) => JSON.parse(JSON.stringify(manifest).replaceAll(from, to)));
  expect(spoilt('"replicas":3', '"replicas":"3"').map(schemaFault).join()).toContain('replicas must be integer');
  expect(await typeFaults(spoilt('"failureThreshold"', '"failuresThreshold"'))).toContain('\'"failuresThreshold"\'');
});

test('programs know the variables that they are given, and take their values', () => {
  const [proxy, server] = [workload('mcp-proxy').env, workload('mcp-server').env];
  const known = new Set<string>(Object.values(OPTIONS).map(({ env }) => env));
  expect(Object.keys(proxy).filter((name) => !known.has(name))).toEqual([]);
  expect(parseConfig([], proxy)).toMatchObject({ kind: 'config' });
  expect(Object.keys(server).filter((name) => !DEMO_VARIABLES.includes(name))).toEqual([]);
  expect(parseDemoConfig(server)).toMatchObject({ kind: 'config' });
});

test('names lead to services, and these to pods', () => {
  const labels = workloads().map(({ spec }) => spec.template.metadata.labels);
  for (const { spec } of workloads()) expect(spec.template.metadata.labels).toMatchObject(spec.selector.matchLabels);
  for (const { spec } of services()) expect(labels).toContainEqual(spec.selector);
  const addresses = services().flatMap(({ metadata: { name, namespace }, spec }) =>
    spec.ports.map(({ port }) => `${name}.${namespace}.svc.cluster.local:${port}`),
  );
  const { DNS_NAME, REDIS_URL } = workload('mcp-proxy').env;
  expect(addresses).toContain(DNS_NAME);
  expect(addresses).toContain(REDIS_URL?.replace('redis://', ''));
  expect(workload('mcp-server').env['REDIS_URL']).toBe(REDIS_URL);
});

test('the service of the servers is headless, at the port where they listen', () => {
  const headless = services().filter(({ spec }) => spec.clusterIP === 'None');
  expect(headless.map(({ metadata }) => metadata.name)).toEqual(['mcp-server']);
  // With a headless service nothing translates ports.
  const ports = headless.flatMap(({ spec }) => spec.ports.map(({ port }) => port));
  expect(ports).toEqual(workload('mcp-server').container.ports.map(({ containerPort }) => containerPort));
});

test.each(['mcp-proxy', 'mcp-server'])('%s has five seconds more than its drain takes', (name) => {
  const { pod, container, env } = workload(name);
  const before = container.lifecycle?.preStop.sleep.seconds ?? 0;
  expect(pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(before + Number(env['DRAIN_SECONDS']) + 5);
});
