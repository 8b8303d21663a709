import { Redis } from 'ioredis'
import { freePort, type RedisServer, redisServer, type Test, until } from './servers.ts'

/** For questions to one server, whatever becomes of it. */
export function admin (t: Test, port: number): Redis {
  const client = new Redis({ port, retryStrategy: () => 50, maxRetriesPerRequest: null })
  client.on('error', () => {})
  t.teardown(() => { client.disconnect() })
  return client
}

export const holds = (client: Redis, question: string[], wanted: RegExp): Promise<void> => until(async () => {
  try { return wanted.test(String(await client.call(question[0]!, ...question.slice(1)))) } catch { return false }
}, () => `${question.join(' ')} to answer ${wanted}`)

export interface ClusterNode { readonly server: RedisServer; readonly client: Redis; readonly bus: number }

/** A real cluster: three masters, and a replica of the one that has `key`, the owner. */
export async function redisCluster (t: Test, key: string): Promise<{ masters: ClusterNode[]; owner: ClusterNode; spare: ClusterNode }> {
  const node = async (): Promise<ClusterNode> => {
    const bus = await freePort()
    const server = await redisServer(t, '--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-node-timeout', '1000',
      '--cluster-replica-validity-factor', '0', '--cluster-require-full-coverage', 'no', '--repl-diskless-sync-delay', '0')
    return { server, client: admin(t, server.port), bus }
  }
  const nodes = [await node(), await node(), await node(), await node()]
  const [a, , , spare] = nodes as [ClusterNode, unknown, unknown, ClusterNode]
  const slot = Number(await a.client.call('CLUSTER', 'KEYSLOT', key))
  for (const [index, { client }] of nodes.entries()) {
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1)
    if (index < 3) await client.call('CLUSTER', 'ADDSLOTSRANGE', [0, 5461, 10_923][index]!, [5460, 10_922, 16_383][index]!)
    if (index > 0) await a.client.call('CLUSTER', 'MEET', '127.0.0.1', nodes[index]!.server.port, nodes[index]!.bus)
  }
  for (const { client } of nodes) await holds(client, ['CLUSTER', 'INFO'], /cluster_state:ok[^]*cluster_known_nodes:4/)
  const owner = nodes[slot <= 5460 ? 0 : slot <= 10_922 ? 1 : 2]!
  const id = String(await owner.client.call('CLUSTER', 'MYID'))
  await holds(spare.client, ['CLUSTER', 'REPLICATE', id], /OK/)
  await holds(spare.client, ['INFO', 'replication'], /master_link_status:up/)
  for (const { client } of nodes) await holds(client, ['CLUSTER', 'NODES'], new RegExp(`slave ${id}`))
  return { masters: nodes.slice(0, 3), owner, spare }
}
