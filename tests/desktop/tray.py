#!/usr/bin/python3
"""Stands in for a desktop's tray: prints the first icon that registers, as one line of JSON, for each line on stdin.

`look` prints it as it is now; `click LABEL` presses an entry of its menu first.
"""
import dbus
import dbus.service
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

import by_lines

WATCHER = 'org.kde.StatusNotifierWatcher'
ITEM = 'org.kde.StatusNotifierItem'
PROPERTIES = 'org.freedesktop.DBus.Properties'

DBusGMainLoop(set_as_default=True)
bus = dbus.SessionBus()
loop = GLib.MainLoop()


class Watcher(dbus.service.Object):
    item = None

    @dbus.service.method(WATCHER, in_signature='s', sender_keyword='sender')
    def RegisterStatusNotifierItem(self, service, sender=None):
        self.item = (sender, service) if service.startswith('/') else (service, '/StatusNotifierItem')
        self.StatusNotifierItemRegistered(''.join(self.item))

    @dbus.service.method(WATCHER, in_signature='s')
    def RegisterStatusNotifierHost(self, service):
        pass

    @dbus.service.signal(WATCHER, signature='s')
    def StatusNotifierItemRegistered(self, service):
        pass

    @dbus.service.method(PROPERTIES, in_signature='ss', out_signature='v')
    def Get(self, interface, name):
        return self.GetAll(interface)[name]

    @dbus.service.method(PROPERTIES, in_signature='s', out_signature='a{sv}')
    def GetAll(self, interface):
        return {
            'IsStatusNotifierHostRegistered': dbus.Boolean(True),
            'ProtocolVersion': dbus.Int32(0),
            'RegisteredStatusNotifierItems': dbus.Array([], signature='s'),
        }

    def menu(self):
        name, path = self.item
        properties = dbus.Interface(bus.get_object(name, path), PROPERTIES).GetAll(ITEM)
        menu = dbus.Interface(bus.get_object(name, properties['Menu']), 'com.canonical.dbusmenu')
        _, (_, _, entries) = menu.GetLayout(0, -1, ['label', 'enabled', 'toggle-state'])
        return properties, menu, entries

    def answer(self, line):
        if not self.item:
            return {'menu': []}
        properties, menu, entries = self.menu()
        if line.startswith('click '):
            for number, entry in everything(entries):
                if label(entry) == line[len('click '):]:
                    menu.Event(number, 'clicked', dbus.String(''), dbus.UInt32(0))
        shown = [
            {'label': label(entry), 'enabled': bool(entry.get('enabled', True)), 'on': int(entry.get('toggle-state', 0)) == 1}
            for _, entry, _ in entries
        ]
        return {'status': str(properties['Status']), 'icon': str(properties['IconName']), 'number': str(properties.get('XAyatanaLabel', '')), 'menu': shown}


def everything(entries):
    """Those of the menus in the menu too."""
    for number, entry, inner in entries:
        yield int(number), entry
        yield from everything(inner)


def label(entry):
    return str(entry.get('label', '')).replace('_', '')


name = dbus.service.BusName(WATCHER, bus)
watcher = Watcher(bus, '/StatusNotifierWatcher')
by_lines.serve(loop, watcher.answer)
