import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Question, type Run, askAlone, childrenOf, ready, run, until, upstream } from './processes.ts'

interface Answer { readonly status: number; readonly body: string; readonly cache: string; readonly from: string }

async function ask (url: string, question?: Question): Promise<Answer> {
  const { response: { statusCode, headers }, text } = await askAlone(url, question)
  return { status: statusCode!, body: text, cache: String(headers['cache-status']).replace('headgate; ', ''), from: String(headers['x-from']) }
}

/** How often the log says something. */
const said = (proxy: Run, what: string): number => proxy.stdout().split(`"msg":"${what}"`).length - 1

/** Three workers over two upstreams, whose answers hold a version. */
async function workers (t: Test, options: object) {
  const folder = mkdtempSync(join(tmpdir(), 'hg-shared-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const site = { version: 1, asked: 0 }
  const upstreams = await Promise.all(['a', 'b'].map((name) => upstream(t, name, (message, response) => {
    if (message.method !== 'GET') return response.end('changed')
    site.asked++
    response.setHeader('cache-control', 'max-age=600').setHeader('cache-tag', 'all').setHeader('x-from', name).end(String(site.version))
  })))
  const file = join(folder, 'proxy.json')
  const text = JSON.stringify(options).replaceAll('FOLDER', folder)
  writeFileSync(file, JSON.stringify({ listen: '127.0.0.1:0', pools: { web: { upstreams, policy: 'round-robin' } }, admin: {}, ...JSON.parse(text) as object }))
  const proxy = await ready(run(t, 'serve', '--config', file, '--workers', '3', '--log-level', 'warn'))
  await until(() => said(proxy, 'workers are ready') > 0)
  const three = async (path: string, more = {}): Promise<Answer[]> => {
    const answers: Answer[] = []
    for (let i = 0; i < 3; i++) answers.push(await ask(proxy.url + path, more))
    return answers
  }
  const purge = (what: object): Promise<Answer> => ask(`${proxy.url}/headgate/api/cache/purge`, { method: 'POST', body: what })
  return { proxy, site, three, purge, file }
}

t.test('each worker has a cache of its own, purges and invalidations reach all of them', async (t) => {
  const { proxy, site, three, purge } = await workers(t, { cache: true })
  await three('/x')
  t.equal(site.asked, 3)
  for (const { cache } of await three('/x')) t.match(cache, /^hit/)
  for (const what of [{ tags: ['all'] }, { urls: [`${proxy.url}/x`] }, { prefixes: [`${proxy.url}/`] }, { all: true }]) {
    site.version++
    t.match(await purge(what), { status: 200, body: '{"purged":3}' })
    for (const { body } of await three('/x')) t.equal(body, String(site.version), JSON.stringify(what))
  }
  site.version++
  t.equal((await purge({ tags: ['all'], soft: true })).body, '{"purged":3}')
  for (const { body, cache } of await three('/x')) t.match({ body, cache }, { body: String(site.version), cache: /^fwd=stale/ })
  site.version++
  await ask(`${proxy.url}/x`, { method: 'POST' })
  await until(async () => (await three('/x')).every(({ body }) => body === String(site.version)))
  t.pass('an unsafe request invalidates for all')
})

t.test('a disk is used by all workers together, while they die and are renewed; no stale answer after a purge', async (t) => {
  const { proxy, site, three, purge } = await workers(t, { cache: { disk: { path: 'FOLDER/cache' } } })
  await ask(`${proxy.url}/one`)
  await until(async () => (await three('/one', { headers: { 'cache-control': 'only-if-cached' } })).every(({ cache }) => cache.startsWith('hit')))
  t.equal(site.asked, 1, 'one fetched for all')
  t.equal((await purge({ all: true })).body, '{"purged":1}')

  let stop = false
  const stale: string[] = []
  const failed: string[] = []
  let [floor, requests, purges] = [site.version, 0, 0]
  const load = async (path: string): Promise<void> => {
    while (!stop) {
      const least = floor
      await ask(proxy.url + path).then(({ body, status }) => {
        requests++
        if (status !== 200) failed.push(`${status} ${body}`)
        else if (Number(body) < least) stale.push(`${path}: ${body} < ${least}`)
      }, (error: unknown) => { failed.push((error as Error).message) })
      // New workers have to start beside it, on however small a machine.
      await new Promise((resolve) => { setTimeout(resolve, 5) })
    }
  }
  const change = async (): Promise<void> => {
    while (!stop) {
      const version = ++site.version
      const { status } = await purge({ tags: ['all'] }).catch(() => ({ status: 0 }))
      if (status === 200) {
        floor = version
        purges++
      }
      await new Promise((resolve) => { setTimeout(resolve, 30) })
    }
  }
  const work = [load('/a'), load('/b'), load('/c'), change()]
  await until(() => purges > 5)
  for (let kills = 1; kills <= 3; kills++) {
    process.kill(childrenOf(proxy)[0]!, 'SIGKILL')
    await until(() => said(proxy, 'a worker was replaced') >= kills)
    const before = purges
    await until(() => purges > before + 3)
  }
  const broken = failed.splice(0)
  proxy.child.kill('SIGHUP')
  await until(() => said(proxy, 'workers are renewed') > 0)
  const before = purges
  await until(() => purges > before + 3)
  stop = true
  await Promise.all(work)
  t.same(stale, [])
  t.same(failed, [], 'and none fails while all are renewed')
  t.ok(broken.length <= 12, `only what a killed worker had: ${broken.length} of ${requests}`)
})

t.test('one table of sessions: a client stays whichever worker it meets, and after all have been renewed', async (t) => {
  const { proxy, three } = await workers(t, { sticky: { by: 'header', name: 'x-user' } })
  const homes = new Map<string, string>()
  const users = Array.from({ length: 12 }, (_, n) => `user-${n}`)
  for (const user of users) homes.set(user, (await ask(`${proxy.url}/`, { headers: { 'x-user': user } })).from)
  t.equal(new Set(homes.values()).size, 2)
  const stay = async (why: string): Promise<void> => {
    for (const user of users) for (const { from } of await three('/', { headers: { 'x-user': user } })) t.equal(from, homes.get(user), `${user} ${why}`)
  }
  await stay('stays')
  proxy.child.kill('SIGHUP')
  await until(() => said(proxy, 'workers are renewed') > 0)
  await stay('stays when all workers are others')
})

t.test('check-config looks at a configuration whose disk is in use', async (t) => {
  const { file } = await workers(t, { cache: { disk: { path: 'FOLDER/cache' } } })
  const checked = run(t, 'check-config', file)
  t.match(await checked.ended, { status: 0 }, checked.stderr())
})
