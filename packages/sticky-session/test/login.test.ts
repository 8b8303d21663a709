import { once } from 'node:events'
import t from 'tap'
import { People, startApp } from './farm.ts'
import { keys, proxy } from './helpers.ts'

t.test('three processes with sessions in memory stay logged in over 1,000 requests; a killed one loses its own sessions alone', async (t) => {
  const upstreams = await Promise.all(['a', 'b', 'c'].map((name) => startApp(t, name)))
  const { url } = await proxy(t, {
    balancer: { pools: { web: { upstreams: upstreams.map(({ id, url }) => ({ id, url })), policy: 'round-robin' } }, routes: [{ prefix: '/', pool: 'web' }] },
    sticky: { keys }
  })
  const people = new People(url, 16)
  await people.login()
  t.same(new Set(people.homes), new Set(['a', 'b', 'c']))
  await people.roam(500)
  t.same(people.lost, [], 'nobody was logged out')
  const victim = upstreams[0]!
  const orphans = [...people.homes.keys()].filter((i) => people.homes[i] === victim.id)
  victim.child.kill('SIGKILL')
  await once(victim.child, 'exit')
  await people.roam(500)
  t.same(people.lost.sort((a, b) => a - b), orphans, 'its sessions were lost, once each, and no others')
  t.notOk(people.homes.includes(victim.id))
})
