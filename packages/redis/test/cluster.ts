import { Redis } from 'ioredis'
import { Cable, freePort, type RedisServer, redisServer, type Test, until } from './servers.ts'

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

/** `bus`: the cable by which other nodes reach it; `address`: where it comes from to them. */
export interface ClusterNode { readonly server: RedisServer; readonly client: Redis; readonly bus: Cable; readonly address: string }

export interface RedisCluster {
  readonly masters: ClusterNode[]
  readonly owner: ClusterNode
  readonly spare: ClusterNode
  /** Cuts the owner off from the other nodes, not from its clients; gives how to mend that. */
  part (): Promise<() => void>
}

/** A real cluster: three masters, and a replica of the one that has `key`, the owner. */
export async function redisCluster (t: Test, key: string): Promise<RedisCluster> {
  const node = async (address: string): Promise<ClusterNode> => {
    const port = await freePort()
    const bus = await Cable.lay(t, port)
    const server = await redisServer(t, '--cluster-enabled', 'yes', '--cluster-port', String(port), '--cluster-announce-bus-port', String(bus.port),
      '--cluster-announce-ip', '127.0.0.1', '--bind-source-addr', address, '--protected-mode', 'no', '--cluster-node-timeout', '1000',
      '--cluster-replica-validity-factor', '0', '--cluster-require-full-coverage', 'no', '--repl-diskless-sync-delay', '0')
    return { server, client: admin(t, server.port), bus, address }
  }
  const nodes = [await node('127.0.0.2'), await node('127.0.0.3'), await node('127.0.0.4'), await node('127.0.0.5')]
  const [a, , , spare] = nodes as [ClusterNode, unknown, unknown, ClusterNode]
  const slot = Number(await a.client.call('CLUSTER', 'KEYSLOT', key))
  for (const [index, { client }] of nodes.entries()) {
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1)
    if (index < 3) await client.call('CLUSTER', 'ADDSLOTSRANGE', [0, 5461, 10_923][index]!, [5460, 10_922, 16_383][index]!)
    if (index > 0) await a.client.call('CLUSTER', 'MEET', '127.0.0.1', nodes[index]!.server.port, nodes[index]!.bus.port)
  }
  for (const { client } of nodes) await holds(client, ['CLUSTER', 'INFO'], /cluster_state:ok[^]*cluster_known_nodes:4/)
  const owner = nodes[slot <= 5460 ? 0 : slot <= 10_922 ? 1 : 2]!
  const id = String(await owner.client.call('CLUSTER', 'MYID'))
  await holds(spare.client, ['CLUSTER', 'REPLICATE', id], /OK/)
  await holds(spare.client, ['INFO', 'replication'], /master_link_status:up/)
  for (const { client } of nodes) await holds(client, ['CLUSTER', 'NODES'], new RegExp(`slave ${id}`))
  const part = async (): Promise<() => void> => {
    // Whom it does not hear from it believes to be there: for as long as it does, it answers.
    await owner.client.config('SET', 'cluster-node-timeout', '60000')
    owner.bus.cut()
    for (const { bus } of nodes) if (bus !== owner.bus) bus.cut(owner.address)
    return () => { for (const { bus } of nodes) bus.mend() }
  }
  return { masters: nodes.slice(0, 3), owner, spare, part }
}
