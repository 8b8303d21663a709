import { once } from 'node:events'
import t from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { Cable, redisServer, until } from './servers.ts'
import { origin, proxy, type Proxy, Traffic } from './site.ts'

t.test('three processes and one Redis', { skip: skipWithout('redis-server'), timeout: 240_000 }, async (t) => {
  const server = await redisServer(t)
  const cable = await Cable.lay(t, server.port)
  const truth = await origin(t)
  const { url, versions, fetched, hold } = truth
  const start = (redis: { readonly url: string; readonly prefix: string }, cache: object): Promise<Proxy> => proxy(t, { upstreams: [url], redis, cache })

  await t.test('one origin fetch for each key, however many ask wherever', async (t) => {
    // Times that no busy machine is held up for: a process without an answer, without its lease or without its claim fetches by itself, as it should.
    const patient = { timeout: 10_000, failures: 1000, lease: 120_000 }
    const proxies = await Promise.all([1, 2, 3].map(() => start({ url: server.url, prefix: 'count', ...patient }, { claim: 120_000 })))
    hold.ms = 50
    const paths = Array.from({ length: 30 }, (_, i) => i % 3 === 0 ? `/long/${i}` : `/short/${i}`)
    const answers = await Promise.all(paths.flatMap((path) => Array.from({ length: 9 }, (_, i) => proxies[i % 3]!.get(path))))
    hold.ms = 0
    t.ok(answers.every(({ status, body }) => status === 200 && body.startsWith('0 ')), 'all answered')
    t.same(paths.filter((path) => fetched.get(path) !== 1), [], 'one fetch each')
    for (const path of paths) versions.set(path, 1)
    t.equal(await proxies[1]!.purge({ tags: ['page'] }), 200)
    const after = await Promise.all(paths.flatMap((path) => proxies.map(({ get }) => get(path))))
    t.ok(after.every(({ body }) => body.startsWith('1 ')), 'nothing old after the purge was acknowledged')
    t.same(paths.filter((path) => fetched.get(path) !== 2), [], 'and one fetch each again')
    for (const { child } of proxies) {
      const ended = once(child, 'exit')
      child.send('end')
      await ended
    }
  })

  await t.test('restart, pause and a cut cable under load: no failure, nothing stale after an acknowledged purge', async (t) => {
    const hasty = { timeout: 20, lease: 1500, retryAfter: 50 }
    // The third is behind the cable. Never stale, however long a cut lasts on a slow machine: without contact, what it has is validated.
    const proxies = await Promise.all([server.url, server.url, cable.url].map((url) => start({ url, prefix: 'faults', ...hasty }, { isolated: 'validate' })))
    const traffic = new Traffic(proxies, truth)
    const { seen, failed, stale } = traffic
    await traffic.more(150, 5)
    t.ok(seen.hits > 0, 'it caches')

    traffic.phase = 'paused'
    server.pause()
    await traffic.more(150, 0)
    server.resume()
    traffic.phase = 'resumed'
    await traffic.more(150, 5)

    traffic.phase = 'stopped'
    await server.stop()
    await traffic.more(150, 0)
    await server.start()
    traffic.phase = 'restarted'
    await traffic.more(150, 5)

    traffic.phase = 'cut'
    cable.cut()
    await traffic.more(150, 0)
    cable.mend()
    traffic.phase = 'mended'
    await traffic.more(150, 5)

    traffic.phase = 'all three'
    cable.cut()
    server.pause()
    await traffic.more(150, 0)
    await server.stop()
    await server.start()
    cable.mend()
    await traffic.more(150, 5)
    await traffic.end()
    t.same(failed, [], 'no failed request')
    t.same(stale, [], 'no stale answer after a purge was acknowledged')
    t.comment(JSON.stringify(seen))
  })

  for (const alone of ['avoid', 'keep'] as const) {
    await t.test(`an upstream that one process cannot reach stays for the others, one that two cannot goes for all; meanwhile: ${alone}`, async (t) => {
      const other = await origin(t)
      // Each process has its own way to the upstream.
      const ways = await Promise.all([1, 2, 3].map(() => Cable.lay(t, truth.port)))
      const proxies = await Promise.all(ways.map((way) => proxy(t, {
        upstreams: [{ id: 'far', url: `http://127.0.0.1:${way.port}` }, { id: 'near', url: other.url }], route: { tryTimeout: 1000 },
        redis: { url: server.url, prefix: `votes-${alone}`, timeout: 5000, lease: 10_000 }, quorum: { alone, interval: 200 }
      })))
      const failed: number[] = []
      const requests = async (which: readonly Proxy[], count: number): Promise<void> => {
        await Promise.all(which.flatMap((one) => Array.from({ length: count }, async (_, i) => {
          const { status } = await one.get(`/${i}`)
          if (status !== 200) failed.push(status)
        })))
      }
      const states = (): Promise<{ state: string; reason: string }[]> => Promise.all(proxies.map(async ({ get }) =>
        (JSON.parse((await get('/_state')).body) as { upstreams: { state: string; reason: string }[] }).upstreams[0]!))
      const state = async (): Promise<string> => (await states()).map((one) => one.state).join(' ')
      await requests(proxies, 12)
      t.equal(await state(), 'up up up')
      ways[2]!.cut()
      await requests(proxies, 24)
      if (alone === 'avoid') await until(async () => await state() === 'up up ejected')
      await requests(proxies, 24)
      t.equal(await state(), alone === 'avoid' ? 'up up ejected' : 'up up up', 'one bad network')
      ways[1]!.cut()
      await requests(proxies.slice(0, 2), 24)
      await until(async () => await state() === 'ejected ejected ejected')
      t.match((await states())[0]!.reason, /^2 of 3 instances would eject it/, 'the first one itself can reach it')
      t.same(failed, [], 'no failed request')
    })
  }
})
