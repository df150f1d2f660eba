import './locale'
import './theme.css'
import { mount } from 'svelte'
import App from './App.svelte'
import { connect } from './host'

const target = document.getElementById('app')
if (target) mount(App, { target, props: { host: await connect() } })
