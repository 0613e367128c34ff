class Bad:
    def a(self):
        x = 1
       y = 2
