import { once } from 'node:events'
import t from 'tap'
import { skipWithout } from '../../../../tools/system.mjs'
import { postgresCheck } from '../../src/index.ts'
import { proxy } from '../helpers.ts'
import { run } from './programs.ts'
import { postgres } from './servers.ts'

t.test('PostgreSQL', { skip: skipWithout('psql', 'pg_ctlcluster') }, async (t) => {
  const [one, two] = [await postgres(t), await postgres(t)]
  const { port, stream } = await proxy(t, {
    listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: { upstreams: [`tcp://127.0.0.1:${one.port}`, { url: `tcp://127.0.0.1:${two.port}`, backup: true }] } }]
  })
  const psql = (sql: string, ssl: string): Promise<string> => run('psql', ['-h', '127.0.0.1', '-p', String(port('db')), '-U', 'postgres', '-AtXc', sql], { PGSSLMODE: ssl, PGCONNECT_TIMEOUT: '20' })
  const signal = new AbortController().signal
  const check = (options: Parameters<typeof postgresCheck>[0], index = 0) => postgresCheck(options)(stream.pools.get('db')!.upstreams[index]!, signal)

  await t.test('psql with TLS off and on', async (t) => {
    t.equal(await psql('select 1', 'disable'), '1\n')
    t.equal(await psql('select ssl from pg_stat_ssl where pid = pg_backend_pid()', 'disable'), 'f\n')
    t.equal(await psql('select ssl from pg_stat_ssl where pid = pg_backend_pid()', 'require'), 't\n')
    const rows = await psql('select repeat(md5(i::text), 30) from generate_series(1, 10000) i', 'require')
    t.equal(rows.length, 10_000 * (32 * 30 + 1))
    t.equal(await psql('show port', 'disable'), `${one.port}\n`)
  })

  await t.test('the check: let in, unknown users, roles', async (t) => {
    t.same(await check({}), { ok: true, reason: 'let in' })
    t.match(await check({ user: 'nobody-of-that-name' }), { ok: true, reason: /^answers: 28000 .*does not exist/ })
    t.match(await check({ database: 'none' }), { ok: true, reason: /3D000/ })
    t.match(await check({ role: 'primary' }), { ok: true, reason: 'is primary' })
    t.match(await check({ role: 'standby' }), { ok: false, reason: 'is a primary' })
  })

  await t.test('the primary dies: the other takes over', async (t) => {
    const ended = once(one.child, 'exit')
    one.child.kill('SIGQUIT')
    await ended
    t.equal(await psql('show port', 'prefer'), `${two.port}\n`)
    t.match(await check({}), { ok: false, reason: /ECONNREFUSED/ })
  })
})
