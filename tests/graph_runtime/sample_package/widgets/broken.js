throw new Error("this widget never loads");
