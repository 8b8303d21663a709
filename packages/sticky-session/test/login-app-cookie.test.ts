import { once } from 'node:events'
import t from 'tap'
import { People, startApp } from './farm.ts'
import { keys, proxy } from './helpers.ts'

t.test("the application's own session cookie is followed, learnt or prefixed, until its upstream is killed", async (t) => {
  const upstreams = await Promise.all(['a', 'b'].map((name) => startApp(t, name)))
  const groups = await Promise.all((['learn', 'prefix'] as const).map(async (mode) => {
    const { url } = await proxy(t, {
      balancer: { pools: { web: { upstreams: upstreams.map(({ id, url }) => ({ id, url })), policy: 'round-robin' } }, routes: [{ prefix: '/', pool: 'web' }] },
      sticky: { keys, by: 'app-cookie', name: 'app-session', mode }
    })
    return { mode, people: new People(url, 6) }
  }))
  for (const { mode, people } of groups) {
    await people.login()
    await people.roam(60)
    t.same(people.lost, [], mode)
  }
  const victim = upstreams[0]!
  victim.child.kill('SIGKILL')
  await once(victim.child, 'exit')
  for (const { mode, people } of groups) {
    const orphans = [...people.homes.keys()].filter((i) => people.homes[i] === victim.id)
    t.ok(orphans.length > 0)
    await people.roam(60)
    t.same(people.lost.sort((a, b) => a - b), orphans, mode)
  }
})
