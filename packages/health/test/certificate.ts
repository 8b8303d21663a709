import { readFileSync } from 'node:fs'

const read = (name: string): string => readFileSync(new URL(`../../balancer/test/fixtures/${name}`, import.meta.url), 'utf8')

/** A self-signed certificate for localhost. */
export const key: string = read('key.pem')
export const cert: string = read('cert.pem')
export const ca: string = cert
