import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { StickyOptions } from '../src/index.ts'
import { Browser } from './browser.ts'
import { keys, proxy } from './helpers.ts'

interface Me { readonly by: string; readonly user: string | null; readonly visits: number }

async function start (t: { teardown (action: () => unknown): void }, name: string): Promise<{ name: string; url: string; child: ChildProcess }> {
  const child = fork(fileURLToPath(new URL('fixtures/login-app.mjs', import.meta.url)), [name], { execArgv: [] })
  t.teardown(() => { child.kill('SIGKILL') })
  const [{ port }] = await once(child, 'message') as [{ port: number }]
  return { name, url: `http://127.0.0.1:${port}`, child }
}

const kinds: [string, StickyOptions, number][] = [
  ['cookie', { keys }, 1000],
  ['app-cookie, learnt', { by: 'app-cookie', name: 'app-session' }, 300],
  ['app-cookie, prefixed', { keys, by: 'app-cookie', name: 'app-session', mode: 'prefix' }, 300]
]

for (const [kind, options, requests] of kinds) {
  t.test(`by ${kind}: three processes with sessions in memory stay logged in over ${requests} requests; a killed one loses its own alone`, async (t) => {
    const upstreams = await Promise.all(['a', 'b', 'c'].map((name) => start(t, name)))
    const { url } = await proxy(t, {
      balancer: { pools: { web: { upstreams: upstreams.map(({ name, url }) => ({ id: name, url })), policy: 'random' } }, routes: [{ prefix: '/', pool: 'web' }] },
      sticky: options
    })
    const browsers = Array.from({ length: 20 }, () => new Browser(url))
    const homes: string[] = []
    const visits: number[] = []
    const login = async (i: number): Promise<void> => {
      homes[i] = (await (await browsers[i]!.go(`/login/user-${i}`, { method: 'POST' })).json() as Me).by
      visits[i] = 0
    }
    for (const i of browsers.keys()) await login(i)
    t.same(new Set(homes), new Set(['a', 'b', 'c']))
    let lost: number[] = []
    /** One more request of each browser, `count` in all, four at a time as browsers do. */
    const roam = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n += 4) {
        await Promise.all([0, 1, 2, 3].map(async (k) => {
          const i = (n + k) % browsers.length
          const response = await browsers[i]!.go('/me')
          const me = await response.json() as Me
          if (response.status !== 200) throw new Error(JSON.stringify(me))
          if (me.user === null) {
            lost.push(i)
            return login(i)
          }
          if (me.user !== `user-${i}` || me.by !== homes[i] || me.visits !== ++visits[i]!) throw new Error(`user-${i} of ${homes[i]}: ${JSON.stringify(me)}`)
        }))
      }
    }
    await roam(requests / 2)
    t.same(lost, [], 'nobody was logged out')
    const victim = upstreams.find(({ name }) => name === homes[0])!
    const orphans = [...homes.keys()].filter((i) => homes[i] === victim.name)
    victim.child.kill('SIGKILL')
    await once(victim.child, 'exit')
    await roam(requests / 2)
    t.same(lost.sort((a, b) => a - b), orphans, 'its sessions were lost, once, and no others')
    t.notOk(homes.includes(victim.name))
    lost = []
    await roam(browsers.length)
    t.same(lost, [])
  })
}
