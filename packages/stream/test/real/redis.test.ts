import t from 'tap'
import { skipWithout } from '../../../../tools/system.mjs'
import { redisCheck } from '../../src/index.ts'
import { proxy, until } from '../helpers.ts'
import { run } from './programs.ts'
import { redis as start } from './servers.ts'

t.test('Redis', { skip: skipWithout('redis-server', 'redis-cli') }, async (t) => {
  const master = (await start(t)).port
  const replica = (await start(t, '--replicaof', '127.0.0.1', String(master))).port
  const locked = (await start(t, '--requirepass', 'secret')).port
  const url = (port: number): string => `tcp://127.0.0.1:${port}`
  const { port, stream } = await proxy(t, {
    listeners: [
      { name: 'write', listen: '127.0.0.1:0', pool: [url(master)] },
      { name: 'read', listen: '127.0.0.1:0', pool: { upstreams: [url(replica), url(master)], policy: 'round-robin' } },
      { name: 'locked', listen: '127.0.0.1:0', pool: [url(locked)] }
    ]
  })

  await t.test('redis-cli and redis-benchmark through the proxy', async (t) => {
    const cli = (name: string, ...args: string[]): Promise<string> => run('redis-cli', ['-p', String(port(name)), ...args])
    t.equal(await cli('write', 'set', 'key', 'value'), 'OK\n')
    const text = await run('redis-benchmark', ['-p', String(port('write')), '-t', 'set,get,lpush', '-n', '5000', '-c', '20', '-P', '4', '-d', '3000', '--csv'])
    t.match(text, /"SET","\d/)
    t.match(text, /"GET","\d/)
    t.equal(await cli('write', 'get', 'key'), 'value\n')
    await until(() => stream.listener('write').counters.active === 0)
    t.equal(stream.listener('write').counters.failures.size, 0)
  })

  await t.test('the check tells roles, passwords and deaths apart', async (t) => {
    const upstream = (name: string, index = 0) => stream.pools.get(name)!.upstreams[index]!
    const signal = new AbortController().signal
    const result = (name: string, options: Parameters<typeof redisCheck>[0], index = 0) => redisCheck(options)(upstream(name, index), signal)
    t.same(await result('write', {}), { ok: true, reason: 'PONG' })
    t.same(await result('write', { role: 'master' }), { ok: true, reason: 'PONG, master' })
    t.same(await result('write', { role: 'replica' }), { ok: false, reason: 'is a master' })
    let linked = await result('read', { role: 'replica' })
    while (!linked.ok) linked = await result('read', { role: 'replica' })
    t.equal(linked.reason, 'PONG, replica')
    t.same(await result('read', { role: 'master' }), { ok: false, reason: 'is a replica' })
    t.match(await result('locked', {}), { ok: false, reason: /NOAUTH/ })
    t.same(await result('locked', { password: 'secret' }), { ok: true, reason: 'PONG' })
    t.match(await result('locked', { password: 'wrong' }), { ok: false, reason: /WRONGPASS/ })
  })
})
