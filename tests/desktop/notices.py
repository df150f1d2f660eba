#!/usr/bin/python3
"""Stands in for a desktop's notifications: keeps what it is told and presses what it is asked to.

For each line on stdin one line of JSON: `list` gives all there were; `press ID KEY` presses that button first.
"""
import dbus
import dbus.service
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

import by_lines

NAME = 'org.freedesktop.Notifications'

DBusGMainLoop(set_as_default=True)
bus = dbus.SessionBus()
loop = GLib.MainLoop()


class Notices(dbus.service.Object):
    all = []

    @dbus.service.method(NAME, in_signature='susssasa{sv}i', out_signature='u')
    def Notify(self, app, replaces, icon, summary, body, actions, hints, timeout):
        buttons = {str(key): str(label) for key, label in zip(actions[::2], actions[1::2])}
        number = len(self.all) + 1
        self.all.append({'id': number, 'app': str(app), 'summary': str(summary), 'body': str(body), 'buttons': buttons})
        return number

    @dbus.service.method(NAME, out_signature='as')
    def GetCapabilities(self):
        return ['body', 'actions']

    @dbus.service.method(NAME, out_signature='ssss')
    def GetServerInformation(self):
        return ('notices', 'tests', '1', '1.2')

    @dbus.service.method(NAME, in_signature='u')
    def CloseNotification(self, number):
        self.NotificationClosed(number, 3)

    @dbus.service.signal(NAME, signature='us')
    def ActionInvoked(self, number, key):
        pass

    @dbus.service.signal(NAME, signature='uu')
    def NotificationClosed(self, number, reason):
        pass

    def answer(self, line):
        if line.startswith('press '):
            _, number, key = line.split(' ')
            self.ActionInvoked(dbus.UInt32(int(number)), key)
            self.NotificationClosed(dbus.UInt32(int(number)), dbus.UInt32(2))
        return self.all


name = dbus.service.BusName(NAME, bus)
notices = Notices(bus, '/org/freedesktop/Notifications')
by_lines.serve(loop, notices.answer)
