// TCP beside HTTP: reads go to three Redis replicas, and a PostgreSQL pair fails over. Clients use the listeners' addresses as if
// they were the servers'. The checks ask each server by its own protocol.
import health from '@headgate/health'
import stream, { postgresCheck, redisCheck } from '@headgate/stream'
import fastify, { type FastifyInstance } from 'fastify'

export interface Options {
  /** `tcp://host:port` of the replicas. */
  redis: string[]
  /** The primary first, then the standby. */
  postgres: [primary: string, standby: string]
  /** Where clients connect to. */
  listen?: { redis: string; postgres: string }
  /** Milliseconds between checks, and for one. */
  interval?: number
  timeout?: number
}

export async function build (options: Options): Promise<FastifyInstance> {
  const { redis, postgres: [primary, standby], listen = { redis: '127.0.0.1:6380', postgres: '127.0.0.1:5433' }, interval = 2000, timeout = 1000 } = options
  const app = fastify()
  await app.register(stream, {
    pools: {
      reads: { upstreams: redis, policy: 'least-connections', connection: { connectTimeout: 500 } },
      database: { upstreams: [primary, { url: standby, backup: true }], connection: { connectTimeout: 500 } }
    },
    listeners: [
      { name: 'redis', listen: listen.redis, pool: 'reads' },
      // Whoever is on a primary that went down has to come again. No statement is ever sent twice: what may be repeated ends with the
      // server's first answer, and in PostgreSQL's protocol that comes before the first statement.
      { name: 'postgres', listen: listen.postgres, pool: 'database', closeWhenDown: true, idleTimeout: 3_600_000 }
    ]
  })
  await app.register(health, {
    pools: {
      reads: { check: { type: 'function', run: redisCheck({ role: 'replica' }), interval, timeout } },
      // Where no replication manager promotes the standby, check for the role: postgresCheck({ role: 'primary' }).
      database: { check: { type: 'function', run: postgresCheck(), interval, timeout, fall: 2 } }
    }
  })
  return app
}
