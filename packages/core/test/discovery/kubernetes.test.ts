import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import t from 'tap'
import type { DiscoveryOptions } from '../../src/index.ts'
import { ApiServer } from './api-server.ts'
import { type Followed, pool, type Test, until } from './helpers.ts'

interface Pod {
  readonly uid?: string
  readonly address: string
  readonly zone?: string
  readonly ready?: boolean | null
  readonly serving?: boolean
  readonly terminating?: boolean
}

function slice (pods: readonly Pod[], addressType = 'IPv4', ports: object[] = [{ name: 'metrics', port: 9090, protocol: 'TCP' }, { name: 'web', port: 8080, protocol: 'TCP' }]): object {
  return {
    addressType, ports,
    endpoints: pods.map(({ uid, address, zone, ready, serving, terminating }) => ({
      addresses: [address], ...uid !== undefined && { targetRef: { kind: 'Pod', uid } }, ...zone !== undefined && { zone },
      conditions: { ...ready !== undefined && { ready }, ...serving !== undefined && { serving }, ...terminating !== undefined && { terminating } }
    }))
  }
}

async function follow (t: Test, api: ApiServer, more: object = {}): Promise<Followed> {
  const followed = pool(t, { slowStart: 0, discovery: { type: 'kubernetes', service: 'web', namespace: 'shop', port: 'web', url: api.url, ...more } as DiscoveryOptions })
  await followed.pool.discover()
  return followed
}

async function server (t: Test): Promise<ApiServer> {
  const api = new ApiServer()
  await api.listen(t)
  return api
}

t.test('list, then watch: what changes is followed; conditions and zones are read', async (t) => {
  const api = await server(t)
  api.put('other', 'other-1', slice([{ address: '10.9.9.9' }]))
  api.put('web', 'web-1', slice([{ uid: 'p1', address: '10.0.0.1', zone: 'a', ready: true }, { uid: 'p2', address: '10.0.0.2', ready: null }, { uid: 'p3', address: '10.0.0.3', ready: false }]))
  const { pool: web, urls, next } = await follow(t, api)
  t.match(await next(), { result: 'changed', kind: 'kubernetes', added: 2 }, 'what is not said counts as ready')
  t.same(urls(), ['http://10.0.0.1:8080', 'http://10.0.0.2:8080'])
  t.equal(web.get('p1')!.zone, 'a')
  const p1 = web.get('p1')
  await until(() => api.watching === 1)
  api.put('web', 'web-2', slice([{ uid: 'p4', address: '10.0.0.4', zone: 'b', ready: true }, { uid: 'p1', address: '10.0.0.1', zone: 'a', ready: true }]))
  t.match(await next(), { added: 1, changed: 0 }, 'one endpoint in two slices is one member')
  api.put('web', 'web-1', slice([{ uid: 'p1', address: '10.0.0.1', zone: 'a', ready: false, serving: true, terminating: true }]))
  api.put('web', 'web-2', slice([{ uid: 'p4', address: '10.0.0.4', zone: 'b', ready: true }]))
  await until(() => web.get('p1')?.health.state === 'draining')
  await until(() => web.get('p2') === undefined)
  t.same(urls(), ['http://10.0.0.4:8080'])
  api.delete('web', 'web-2')
  await until(() => urls()[0] === 'http://10.0.0.1:8080')
  t.equal(web.get('p1'), p1, 'with nobody else left, who terminates but serves is better than nothing')
  api.put('other', 'other-2', slice([{ address: '10.9.9.8' }]))
  api.put('web', 'web-1', slice([]))
  await until(() => web.upstreams.length === 0)
  t.same(api.requests, ['list', 'watch 102'], 'one list, one watch')
})

t.test('watches that end, break, or are too old', async (t) => {
  const api = await server(t)
  const put = (n: number): void => { api.put('web', 'web-1', slice([{ uid: `p${n}`, address: `10.0.0.${n}` }])) }
  put(1)
  const { urls, next } = await follow(t, api)
  await next()
  const sees = async (n: number): Promise<void> => { await until(() => urls()[0] === `http://10.0.0.${n}:8080`) }
  await until(() => api.watching === 1)
  api.bookmark()
  api.end('time')
  put(2)
  await sees(2)
  await until(() => api.watching === 1)
  t.same(api.requests.splice(0), ['list', 'watch 101', 'watch 102'], 'goes on from the bookmark')
  api.end('broken')
  await until(() => api.watching === 0)
  put(3)
  await sees(3)
  await until(() => api.watching === 1)
  t.same(api.requests.splice(0), ['watch 103'], 'nothing is lost, and nothing listed anew')
  put(4)
  await sees(4)
  api.end({ code: 410, message: 'too old resource version' })
  put(5)
  await sees(5)
  await until(() => api.watching === 1)
  t.same(api.requests.splice(0), ['list', 'watch 106'])
  for (const [n, gone] of [[6, 'event'], [7, 'status']] as const) {
    api.gone = gone
    api.end('time')
    put(n)
    api.compact()
    await sees(n)
    await until(() => api.watching === 1)
    t.same(api.requests.splice(0), [`watch ${100 + n}`, 'list', `watch ${101 + n}`], 'compacted between two watches')
  }
  api.end({ code: 500, message: 'etcd' })
  put(8)
  await sees(8)
})

t.test('an address that two pods have, in two slices, is one member: the one that is ready', async (t) => {
  const api = await server(t)
  // A pod of the node's own network and its successor; a pod whose address somebody wrote by hand as well.
  const going = { ready: false, serving: true, terminating: true }
  api.put('web', 'web-1', slice([{ uid: 'old', address: '10.0.0.1', ...going }, { uid: 'p2', address: '10.0.0.2' }, { uid: 'p3', address: '10.0.0.3' }]))
  api.put('web', 'web-2', slice([{ uid: 'new', address: '10.0.0.1' }, { address: '10.0.0.2' }]))
  const { pool: web, next } = await follow(t, api)
  t.match(await next(), { result: 'changed', added: 3 })
  const members = (): string[] => web.upstreams.map(({ id, url, health }) => `${id} ${url} ${health.state}`).sort()
  t.same(members(), ['new http://10.0.0.1:8080 up', 'p2 http://10.0.0.2:8080 up', 'p3 http://10.0.0.3:8080 up'])
  await until(() => api.watching === 1)
  // One pod in two slices, which do not change at once: what is about to go does not come back.
  api.put('web', 'web-3', slice([{ uid: 'p3', address: '10.0.0.3', ...going }]))
  await until(() => web.get('p3')!.health.state === 'draining')
  api.put('web', 'web-2', slice([{ uid: 'new', address: '10.0.0.1', ...going }]))
  api.put('web', 'web-1', slice([{ uid: 'old', address: '10.0.0.1', ...going }]))
  await until(() => web.upstreams.length === 2)
  t.match(web.upstreams.map(({ url, health }) => `${url} ${health.state}`).sort(), ['http://10.0.0.1:8080 up', 'http://10.0.0.3:8080 up'], 'with nobody else left')
})

t.test('what came before a line that is broken is heard, and an outage that is over is none', async (t) => {
  const api = await server(t)
  const put = (n: number): void => { api.put('web', 'web-1', slice([{ uid: `p${n}`, address: `10.0.0.${n}` }])) }
  put(1)
  const { pool: web, urls, next } = await follow(t, api)
  await next()
  await until(() => api.watching === 1)
  api.garble = true
  put(2)
  t.match([await next(), await next()], [{ added: 1, removed: 1 }, { result: 'failed', error: /JSON/ }])
  t.same(urls(), ['http://10.0.0.2:8080'])
  await until(() => api.watching === 1)
  await until(() => web.discovery!.error === '')
  t.same(api.requests, ['list', 'watch 101', 'watch 102'], 'nothing listed anew')
})

t.test('a certificate authority that is renewed', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'hg-k8s-'))
  t.teardown(() => { rmSync(home, { recursive: true, force: true }) })
  const fixture = (name: string): string => readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8')
  const [tokenFile, caFile] = [join(home, 'token'), join(home, 'ca.crt')]
  writeFileSync(tokenFile, 'one')
  writeFileSync(caFile, rootCertificates[0]!)
  const api = new ApiServer()
  await api.listen(t, { key: fixture('key.pem'), cert: fixture('cert.pem') })
  api.put('web', 'web-1', slice([{ uid: 'p1', address: '10.0.0.1' }]))
  const { next } = await follow(t, api, { tokenFile, caFile })
  t.match(await next(), { result: 'failed', error: /certificate/ })
  writeFileSync(caFile, fixture('cert.pem'))
  let message = await next()
  while (message.result === 'failed') message = await next()
  t.match(message, { added: 1 })
})

t.test('outages keep the members; long lists come in pages of one moment, and a lost page begins anew', async (t) => {
  const api = await server(t)
  for (let n = 0; n < 25; n++) api.put('web', `web-${n}`, slice([{ uid: `p${n}`, address: `10.0.0.${n}` }]))
  api.pageLimit = 10
  const { pool: web, next, messages } = await follow(t, api)
  await next()
  t.equal(web.ready.length, 25)
  t.same(api.requests.slice(0, 3), ['list', 'list 1/10', 'list 1/20'])
  await until(() => api.watching === 1)
  api.outage = 503
  api.end('time')
  t.match(await next(), { result: 'failed', error: /answered 503: .*out of order/ })
  t.equal(web.ready.length, 25)
  for (let n = 1; n < 25; n++) api.delete('web', `web-${n}`)
  api.compact()
  api.outage = 0
  await until(() => web.ready.length === 1)
  t.ok(messages.some(({ removed }) => removed === 24))
})

t.test('TLS and tokens that change; the first port; UDP; addresses of both families are one member', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'hg-k8s-'))
  t.teardown(() => { rmSync(home, { recursive: true, force: true }) })
  const fixture = (name: string): string => new URL(`../fixtures/${name}`, import.meta.url).pathname
  const tokenFile = join(home, 'token')
  const api = new ApiServer()
  await api.listen(t, { key: readFileSync(fixture('key.pem'), 'utf8'), cert: readFileSync(fixture('cert.pem'), 'utf8') })
  api.token = 'one'
  const ports = [{ name: 'dns', port: 53, protocol: 'UDP' }, { name: '', port: 80 }]
  api.put('web', 'web-4', slice([{ uid: 'p1', address: '10.0.0.1' }], 'IPv4', ports))
  api.put('web', 'web-6', slice([{ uid: 'p1', address: 'fd00::1' }, { uid: 'p2', address: 'fd00::2' }], 'IPv6', ports))
  const { port: _port, ...common } = { port: 0, tokenFile, caFile: fixture('cert.pem') }
  const discovery = { type: 'kubernetes', service: 'web', namespace: 'shop', url: api.url, ...common } as DiscoveryOptions
  const { pool: web, next } = pool(t, { discovery })
  await web.discover()
  t.match(await next(), { result: 'failed', error: /ENOENT.*token/ })
  writeFileSync(tokenFile, 'one\n')
  let message = await next()
  while (message.result === 'failed') message = await next()
  t.same(web.upstreams.map(({ id, url, target }) => [id, url, target.addresses]), [['p1', 'http://10.0.0.1', ['fd00::1', '10.0.0.1']], ['p2', 'http://[fd00::2]', undefined]])
  await until(() => api.watching === 1)
  api.token = 'two'
  writeFileSync(tokenFile, 'two')
  api.end('time')
  await until(() => api.watching === 1)
  const pair = web.get('p1')
  api.put('web', 'web-6', slice([{ uid: 'p1', address: 'fd00::1' }], 'IPv6', ports))
  await until(() => web.get('p2') === undefined)
  t.equal(web.get('p1'), pair)
  t.throws(() => pool(t, { discovery: { type: 'kubernetes', service: 'web' } }), { code: 'HG_POOL_INVALID_OPTION', message: /^pool\.discovery\.url: is required outside of a cluster/ })
})

t.test('a port that no endpoint has is told of, and whom we had stays', async (t) => {
  const api = await server(t)
  const pods = [{ uid: 'p1', address: '10.0.0.1' }]
  const renamed = [{ name: 'http', port: 8081, protocol: 'TCP' }, { name: 'web', port: 53, protocol: 'UDP' }]
  api.put('web', 'web-1', slice(pods, 'IPv4', renamed))
  const { pool: web, urls, next } = await follow(t, api)
  t.match(await next(), { result: 'failed', error: 'no endpoint has the TCP port "web"; there are: "http" (8081 TCP), "web" (53 UDP)' })
  t.equal(web.upstreams.length, 0)
  await until(() => api.watching === 1)
  api.put('web', 'web-2', slice([{ uid: 'p2', address: '10.0.0.2' }]))
  await until(() => urls()[0] === 'http://10.0.0.2:8080')
  t.equal(web.discovery!.error, '', 'slices may differ while a new version is rolled out')
  api.put('web', 'web-2', slice([{ uid: 'p2', address: '10.0.0.2' }], 'IPv4', renamed))
  await until(() => web.discovery!.error !== '')
  t.same(urls(), ['http://10.0.0.2:8080'], 'stays')
  api.put('web', 'web-1', slice([], 'IPv4', []))
  api.put('web', 'web-2', slice([], 'IPv4', []))
  await until(() => web.upstreams.length === 0)
  t.equal(web.discovery!.error, '', 'nobody there is no mistake')
})
