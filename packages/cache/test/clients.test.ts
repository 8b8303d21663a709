import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { chromium } from 'playwright-core'
import t from 'tap'
import { find, skipWithout } from '../../../tools/system.mjs'
import { eventually, proxied } from './helpers.ts'

const run = promisify(execFile)
/** Half a minute of a tone as a WAV file: long enough that a player asks for parts of it. */
function film (): Buffer {
  const rate = 44_100
  const samples = Buffer.alloc(rate * 30 * 2 * 2)
  for (let at = 0; at < samples.length; at += 2) samples.writeInt16LE(Math.round(8000 * Math.sin(at / 50)), at)
  const head = Buffer.alloc(44)
  head.write('RIFF', 0)
  head.writeUInt32LE(36 + samples.length, 4)
  head.write('WAVEfmt ', 8)
  head.writeUInt32LE(16, 16)
  head.writeUInt16LE(1, 20)
  head.writeUInt16LE(2, 22)
  head.writeUInt32LE(rate, 24)
  head.writeUInt32LE(rate * 4, 28)
  head.writeUInt16LE(4, 32)
  head.writeUInt16LE(16, 34)
  head.write('data', 36)
  head.writeUInt32LE(samples.length, 40)
  return Buffer.concat([head, samples])
}

const BIG = Buffer.alloc(300_000, 'abcdefghijklmnopqrstuvwxyz')

t.test('curl: ranges, and a download that is resumed', { skip: skipWithout('curl') }, async (t) => {
  const { proxy, requests } = await proxied(t, {}, (_request, response) => { response.setHeader('cache-control', 'max-age=60').setHeader('etag', '"a"').end(BIG) })
  const folder = mkdtempSync(join(tmpdir(), 'headgate-curl-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const file = join(folder, 'big')
  const curl = (...args: string[]): Promise<{ stdout: string }> => run('curl', ['-sS', '--noproxy', '*', ...args, `${proxy}/big`], { encoding: 'latin1', maxBuffer: 1e7 })
  await curl('-o', file)
  t.ok(readFileSync(file).equals(BIG))
  t.equal((await curl('-r', '10-19')).stdout, BIG.subarray(10, 20).toString())
  t.equal((await curl('-r', '-5')).stdout, BIG.subarray(-5).toString())
  const { stdout } = await curl('-r', '0-1,5-6', '-i')
  t.match(stdout, /multipart\/byteranges/)
  await curl('-r', '0-99999', '-o', file)
  await curl('-C', '-', '-o', file)
  t.ok(readFileSync(file).equals(BIG), 'resumed from where it was')
  t.match((await curl('-i', '-H', 'If-None-Match: "a"')).stdout, /^HTTP\/1\.1 304/)
  t.equal(requests.length, 1)
})

t.test('Chromium: a page with its parts, another visitor, ranges', { skip: skipWithout('chromium'), timeout: 110_000 }, async (t) => {
  const { app, proxy, requests } = await proxied(t, {}, (request, response) => {
    if (request.headers['if-none-match'] === '"a"') return response.writeHead(304, { 'cache-control': 's-maxage=600, max-age=0', etag: '"a"' }).end()
    const type = request.url!.endsWith('.css') ? 'text/css' : request.url!.endsWith('.js') ? 'text/javascript' : 'text/html'
    response.writeHead(request.url === '/favicon.ico' ? 404 : 200, { 'content-type': type, 'cache-control': 's-maxage=600, max-age=0', etag: '"a"' })
    if (type === 'text/css') response.end('body { color: rgb(1, 2, 3) }')
    else if (type === 'text/javascript') response.end('document.title = "ran"')
    else if (request.url === '/big') response.end(BIG)
    else response.end('<!doctype html><link rel=stylesheet href=/a.css><p>hello</p><script src=/a.js></script>')
  })
  const browser = await chromium.launch({ executablePath: find('chromium')!, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-background-networking'] })
  const page = await browser.newPage()
  page.setDefaultTimeout(100_000)
  const answers: { url: string; status: string }[] = []
  page.on('response', (response) => { answers.push({ url: response.url().slice(proxy.length), status: response.headers()['cache-status'] ?? '' }) })
  await page.goto(`${proxy}/`)
  t.equal(await page.title(), 'ran')
  t.equal(await page.evaluate('getComputedStyle(document.body).color'), 'rgb(1, 2, 3)')
  const asked = requests.filter(({ url }) => url !== '/favicon.ico').length
  t.equal(asked, 3)
  const served: { url: string; status: number; condition: string | undefined }[] = []
  app.server.on('request', (request, response) => {
    response.on('finish', () => {
      if (request.url !== '/favicon.ico') served.push({ url: request.url!, status: response.statusCode, condition: request.headers['if-none-match'] })
    })
  })
  const hits = app.cache.stats.hits
  await page.reload()
  t.equal(await page.title(), 'ran')
  await eventually(() => served.length === 3)
  served.sort((one, other) => one.url < other.url ? -1 : 1)
  // The page is asked for with max-age=0, which no stored response that is older may answer (RFC 9111 5.2.1.1): its origin is asked with the
  // validator. Its parts are asked for as usual.
  t.same(served.map(({ url, status, condition }) => [url, status, condition]), ['/', '/a.css', '/a.js'].map((url) => [url, 304, '"a"']))
  t.equal(app.cache.stats.hits - hits, 2, 'the parts are hits')
  t.same(requests.filter(({ url }) => url !== '/favicon.ico').slice(asked).map(({ url, headers }) => [url, headers['if-none-match']]), [['/', '"a"']])
  answers.length = 0
  const before = requests.length
  const other = await (await browser.newContext()).newPage()
  other.on('response', (response) => { answers.push({ url: response.url().slice(proxy.length), status: response.headers()['cache-status'] ?? '' }) })
  await other.goto(`${proxy}/`)
  t.equal(await other.title(), 'ran')
  for (const url of ['/', '/a.css', '/a.js']) t.match(answers.find((answer) => answer.url === url)?.status, /; hit/, url)
  t.equal(requests.slice(before).filter(({ url }) => url !== '/favicon.ico').length, 0, 'another visitor costs the origin nothing')
  const ranged = await other.evaluate(`(async () => {
    await (await fetch('/big', { cache: 'no-cache' })).text()
    const part = await fetch('/big', { headers: { range: 'bytes=26-28' } })
    return [part.status, await part.text(), part.headers.get('content-range')]
  })()`)
  // Before its servers: they would wait for its connections.
  await browser.close()
  t.same(ranged, [206, 'abc', 'bytes 26-28/300000'])
})

t.test('Chromium: a <video> that seeks gets its ranges out of the cache', { skip: skipWithout('chromium'), timeout: 110_000 }, async (t) => {
  const body = film()
  const { proxy, requests } = await proxied(t, { memory: { maxBytes: 64_000_000, maxEntryBytes: 32_000_000 } }, (request, response) => {
    if (request.url !== '/film') return response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><video id=v preload=metadata muted></video>')
    // An origin that knows nothing of ranges.
    response.writeHead(200, { 'content-type': 'audio/wav', 'cache-control': 'max-age=600', etag: '"film"', 'content-length': body.length }).end(body)
  })
  await (await fetch(`${proxy}/film`)).arrayBuffer()
  const browser = await chromium.launch({
    executablePath: find('chromium')!, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-background-networking', '--autoplay-policy=no-user-gesture-required']
  })
  const page = await browser.newPage()
  page.setDefaultTimeout(100_000)
  const answers: { status: number; range: string; cache: string; asked: string }[] = []
  page.on('response', (response) => {
    if (!response.url().endsWith('/film')) return
    const headers = response.headers()
    answers.push({ status: response.status(), range: headers['content-range'] ?? '', cache: headers['cache-status'] ?? '', asked: response.request().headers()['range'] ?? '' })
  })
  await page.goto(`${proxy}/`)
  const seen = await page.evaluate(`(async () => {
    const video = document.getElementById('v')
    const event = (name) => new Promise((resolve, reject) => {
      video.addEventListener(name, resolve, { once: true })
      video.addEventListener('error', () => reject(new Error(video.error.message)), { once: true })
    })
    const loaded = event('loadedmetadata')
    video.src = '/film'
    await loaded
    const seeked = event('seeked')
    video.currentTime = 28
    await seeked
    const played = event('timeupdate')
    video.play()
    await played
    return [video.duration, video.currentTime]
  })()`) as [number, number]
  await browser.close()
  t.equal(seen[0], 30)
  t.ok(seen[1] >= 28)
  t.ok(answers.length >= 2, 'it asked for parts')
  for (const { status, range, cache } of answers) {
    t.equal(status, 206)
    t.match(range, new RegExp(`/${body.length}$`))
    t.match(cache, /; hit/)
  }
  t.ok(answers.some(({ asked }) => Number(/^bytes=(\d+)-/.exec(asked)?.[1]) > body.length / 2), 'one of them from behind the middle')
  t.equal(requests.filter(({ url }) => url === '/film').length, 1, 'the origin sent it once')
})
